"""Stage 0: archives and ground truth, fetched, checked, unpacked."""
