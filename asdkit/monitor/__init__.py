"""What uses a bundle: scores, alarms and sensor checks, with numpy, soundfile and onnxruntime alone."""
