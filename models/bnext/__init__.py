"""BNext: binary convolutions whose gain is decided at run time from the whole map."""
