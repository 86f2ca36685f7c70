"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long one example takes says more about what else the machine does than about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
