"""What the source says of tokens and markets: facts, their versions, objects, tables; pure."""
