"""`python -m tests.ec2lab.sweep`: removes what is left of labs whose owners are dead, and says which."""

from tests.ec2lab import directory


def main() -> None:
    swept = directory.sweep()
    print(f"Swept {', '.join(swept)}." if swept else "There was nothing to sweep.")


if __name__ == "__main__":
    main()
