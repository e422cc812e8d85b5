"""Self-supervised pre-training of a BEATs: masked patches are named by a random-projection tokeniser."""
