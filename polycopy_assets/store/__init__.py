"""Where segments and combined files live: immutable objects under names."""
