"""What is added to an encoder so that few weights are trained: LoRA and the group adapter."""
