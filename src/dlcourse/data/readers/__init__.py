"""How each data set is read from its files: a module a data set, whose SOURCE says all that there is to say of it."""
