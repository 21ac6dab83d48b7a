"""Where every byte of one GPU goes: formulas and the ledger. It chooses nothing and reads no file but facts."""
