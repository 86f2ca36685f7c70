"""`python -m elastic_deploy`: the console script, where it is not on the PATH."""

from elastic_deploy.cli.main import main

main()
