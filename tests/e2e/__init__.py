"""The main job as a user runs it: the command line, real Ray, real vLLM, real signals. One deployment is shared."""
