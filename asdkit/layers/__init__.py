"""What encoders are made of: front ends, attention, blocks."""
