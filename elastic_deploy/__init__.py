"""Serve a model with vLLM on a Ray cluster whose GPUs come late, go missing, and come back."""
