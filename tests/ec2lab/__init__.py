"""An EC2 on one machine whose instances are real Linux hosts, for tests: see `tests.ec2lab.lab.Lab`."""
