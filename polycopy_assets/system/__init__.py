"""The machine and the process that we run in: files, their holders, the environment."""
