"""What is wrong with a validator, and what to do about it: everything that can be found out from its machine."""
