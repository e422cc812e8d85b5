"""What makes a bundle of an experiment: needs torch, and onnx for the graph in it."""
