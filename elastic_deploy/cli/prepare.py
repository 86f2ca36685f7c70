"""What `up` and `plan` find out before anything is touched: the cluster YAML, the request, the plan.

Pure but for reading the cluster YAML and the model's directory. Every error that can be known now is raised here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.shape import Bundle, ModelFacts, Plan, Shape
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
    surge: bool = False
    """Whether the cluster has room for one replica more while a change is rolled out."""

    @property
    def spec(self) -> DeploymentSpec:
        """What the supervisor is handed."""
        return spec_of(self.request, self.plan.shape, surge=self.surge)

    def beside(self, taken: list[Bundle], running: Shape | None) -> "Prepared":
        """The same beside other deployments' bundles, in place of its own shape that runs, if one does.

        Raises NeverFitsError where both do not fit.
        """
        fitted = plan(self.config.capacity, self.request, self.facts, taken)
        return replace(
            self, plan=fitted, surge=has_room(self.config.capacity, running or fitted.shape, fitted.shape, taken)
        )


def prepare(cluster: Path, flags: Settings) -> Prepared:
    """Read and check everything. Raises the UserError with the contract's exit code for all that is wrong."""
    config = load_cluster(cluster)
    if config.provider_kind == "local":
        config = replace(config, settings=replace(config.settings, model=local_model(config.settings.model)))
        flags = replace(flags, model=local_model(flags.model))
    request = merge(config.settings, flags)
    facts = model_facts(Path(model_path(request.model)))
    return Prepared(config, request, facts, plan(config.capacity, request, facts)).beside([], None)


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
