"""What `up` and `plan` find out before anything is touched: the cluster YAML, the request, the plan, the front door.

Pure but for reading the cluster YAML, the model's directory and the certificate. Every error that can be known now is
raised here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from elastic_deploy.cli.prices import AWS, TABLE, PriceTold, told
from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.model.certificate import Certificate, read_certificate
from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorOptions, FrontDoorWish
from elastic_deploy.model.plan import Plan
from elastic_deploy.model.shape import Bundle, ModelFacts, Shape
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.request import DeploymentRequest, merge, spec_of
from elastic_deploy.planning.settings import Settings
from elastic_deploy.planning.surge import has_room
from elastic_deploy.rehearsal.engine_arguments import model_path


@dataclass(frozen=True, slots=True)
class Prepared:
    """A deployment that can be had, as far as one can tell from here."""

    config: ClusterConfig
    request: DeploymentRequest
    facts: ModelFacts
    plan: Plan
    door: FrontDoorWish
    certificate: Certificate | None = None
    """What the front door's certificate says, where there is one."""
    surge: bool = False
    """Whether the cluster has room for one replica more while a change is rolled out."""
    flag_prices: tuple[tuple[str, float], ...] = ()
    """The prices that the command line names."""
    asked_prices: tuple[tuple[str, float], ...] = ()
    """What AWS told, where it was asked."""

    @property
    def spec(self) -> DeploymentSpec:
        """What the supervisor is handed."""
        prices = [(each.node_type, each.usd_per_hour) for each in self.prices if each.source in (AWS, TABLE)]
        return spec_of(
            self.request, self.plan.shape, surge=self.surge, pools=self.plan.pools, rungs=self.plan.rungs, prices=prices
        )

    @property
    def prices(self) -> tuple[PriceTold, ...]:
        """What is known of the prices of the YAML's node types, and who says so."""
        types = self.config.capacity.node_types
        return told(types, dict(self.flag_prices), dict(self.request.prices), dict(self.asked_prices))

    def beside(self, taken: list[Bundle], running: Shape | None) -> "Prepared":
        """The same beside other deployments' bundles, in place of its own shape that runs, if one does.

        Raises NeverFitsError where both do not fit.
        """
        fitted = plan(self.config.capacity, self.request, self.facts, taken)
        before = running or fitted.shape
        room = has_room(self.config.capacity, before, fitted.shape, taken, fitted.pools)
        return replace(self, plan=fitted, surge=room)


def prepare(cluster: Path, flags: Settings) -> Prepared:
    """Read and check everything. Raises the UserError with the contract's exit code for all that is wrong."""
    config = load_cluster(cluster)
    if config.provider_kind == "local":
        config = replace(config, settings=replace(config.settings, model=local_model(config.settings.model)))
        flags = replace(flags, model=local_model(flags.model))
    request = merge(config.settings, flags)
    facts = model_facts(Path(model_path(request.model)))
    door, certificate = front_door(request)
    _require_types(config, flags)
    made = Prepared(
        config,
        request,
        facts,
        plan(config.capacity, request, facts),
        door,
        certificate,
        flag_prices=flags.prices or (),
    )
    return made.beside([], None)


def _require_types(config: ClusterConfig, flags: Settings) -> None:
    names = [each.name for each in config.capacity.node_types]
    for name, _ in flags.prices or ():
        if name not in names:
            raise UsageError(f"--price names {name}, which is no node type of the YAML: it has {', '.join(names)}.")


def front_door(request: DeploymentRequest) -> tuple[FrontDoorWish, Certificate | None]:
    """What the request asks of the front door, and what its certificate says if it has one.

    Raises InvalidConfigError where no server can show this certificate with this key today.
    """
    if request.tls_cert is None or request.tls_key is None:
        return FrontDoorWish(request.port, FrontDoorOptions(bounds=request.bounds)), None
    files = Path(request.tls_cert), Path(request.tls_key)
    try:
        certificate = read_certificate(*files)
        pair = CertificatePair(*(file.read_text() for file in files))
    except (OSError, ValueError) as error:
        raise InvalidConfigError(
            f"The front door cannot speak HTTPS: {error}. Mend --tls-cert and --tls-key, or `tls_cert` and `tls_key`"
            " under metadata.elastic_deploy in the cluster YAML."
        ) from error
    options = FrontDoorOptions(certificate=pair.fingerprint, bounds=request.bounds)
    return FrontDoorWish(request.port, options, pair), certificate


def local_model(model: str | None) -> str | None:
    """A model's path made absolute, for nodes that are this machine; anything else as it is.

    Raises InvalidConfigError where `model` is written as a path and nothing is there.
    """
    if model is None or not model.strip() or model_path(model) != model:
        return model
    path = Path(model).expanduser()
    if path.exists():
        # A link keeps its name, which is the model's; only dots make it necessary to look behind it.
        return str(path.resolve() if ".." in path.parts else path.absolute())
    if model.startswith(("/", ".", "~")):
        raise InvalidConfigError(
            f"Model {model} does not exist: name a checkpoint's directory, a hub id such as org/model, or tiny."
        )
    return model
