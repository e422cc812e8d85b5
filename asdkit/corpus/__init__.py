"""Stage 1: what a corpus is and what its file names say."""
