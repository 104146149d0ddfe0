"""What somebody wants otherwise in an epoch, from what they typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from loosh_pipeline.audit.lengths import hours_in
from loosh_pipeline.audit.weighing_again import Given, without
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.emissions import EmissionRule, Terms
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.policy.inputs import Inputs, Policy
from loosh_pipeline.policy.modes import lookbacks_h
from loosh_pipeline.rescoring.wanted import profile_with
from loosh_pipeline.scoring.profile import parameters_of
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile
from loosh_pipeline.settings import Settings

RULE = {each.name: f"emissions_{each.name}" for each in fields(EmissionRule)}
LOOKBACKS = {"lookback_h": "emissions_lookback_h", "emergency_lookback_h": "emissions_emergency_lookback_h"}
POLICY = {each.name: f"weights_{each.name}" for each in fields(Policy)} | LOOKBACKS
"""The setting of every field."""
SHORT = {
    "half_life": "half_life_h",
    "full_evidence": "full_evidence_rounds",
    "lookback": "lookback_h",
    "emergency_lookback": "emergency_lookback_h",
    "min_evidence": "min_evidence_rounds",
}
OF_LOOKBACK = frozenset({"lookback_h", "emergency_lookback_h", "degraded_at", "emergency_at"})
"""What is paid hangs on these through the lookback that is chosen."""
MOST_H = 168.0
"""The longest lookback that is tried, but for those on record: what it reads is held in memory."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be otherwise; nothing by itself. `parameters`: of the profile, of `profile` where that is another."""

    rule: Mapping[str, float] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    profile: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    left_out: tuple[Hotkey, ...] = ()
    no_sybil: bool = False

    def __bool__(self) -> bool:
        return any((self.rule, self.policy, self.profile, self.parameters, self.left_out, self.no_sybil))

    def said(self) -> str:
        """In a line."""
        settings = {**self.rule, **self.policy, **self.parameters}
        told = [f"without {hotkey}" for hotkey in self.left_out] + [
            f"{name}={_said(value)}" for name, value in settings.items()
        ]
        told += [f"profile {self.profile}"] if self.profile else []
        return ", ".join([*told, *(["no sybil penalty"] if self.no_sybil else [])]) or "nothing"

    def structured(self) -> dict[str, Any]:
        """For JSON, by kind."""
        return {
            "emissions": dict(self.rule),
            "policy": dict(self.policy),
            "profile": self.profile,
            "parameters": dict(self.parameters),
            "without": list(self.left_out),
            "no_sybil": self.no_sybil,
        }

    def profile_from(self, recorded: ScoringProfile) -> ScoringProfile:
        """By which it would be paid. Raises ConfigError for a value that cannot be."""
        name = self.profile or recorded.name
        kept = parameters_of(recorded) if name == recorded.name else {}
        try:
            return profile_with(name, {**kept, **self.parameters})
        except (ValueError, OverflowError) as error:
            raise ConfigError(str(error)) from error

    def applied(self, given: Given) -> Given:
        """All of it but the profile, which may ask for other rows. Raises ConfigError like `inputs_from`."""
        inputs = self.inputs_from(given.inputs)
        changed = replace(given, inputs=inputs, terms=self.terms_from(given.terms, inputs))
        return without(changed, self.left_out) if self.left_out else changed

    def inputs_from(self, recorded: Inputs) -> Inputs:
        """Those of the proposal. Raises ConfigError for settings that do not fit one another."""
        policy, view = replace(recorded.policy, **self.policy), recorded.view
        most_h = max(MOST_H, recorded.policy.lookback_h, recorded.policy.emergency_lookback_h)
        for name in LOOKBACKS.keys() & self.policy.keys():
            if (hours := getattr(policy, name)) > most_h:
                raise ConfigError(f"{name}={hours:g} is too long a lookback to be tried; {most_h:g} h are the most")
        if policy.degraded_at > policy.emergency_at:
            raise ConfigError(f"degraded_at ({policy.degraded_at:g}) exceeds emergency_at ({policy.emergency_at:g})")
        if (policy.burn_hotkey is None) != (policy.burn_share == 0):
            raise ConfigError("set both burn_hotkey and burn_share, or neither")
        if self.no_sybil and view is not None:
            view = replace(view, sybil_scores={})
        return replace(recorded, policy=policy, view=view)

    def terms_from(self, recorded: Terms, inputs: Inputs) -> Terms:
        """Those of the emissions; the mode is that of what is proposed where it hangs on what is changed."""
        mode = inputs.mode if self._chooses_lookback else recorded.mode
        return replace(recorded, rule=replace(recorded.rule, **self.rule), mode=mode)

    def lookbacks_h(self, inputs: Inputs, terms: Terms) -> tuple[float, ...]:
        """Of what was changed: the lookback that was taken, or those that may be where what is changed chooses."""
        if not self._chooses_lookback:
            return (terms.lookback_h,)
        return lookbacks_h(terms.mode, inputs.policy.lookback_h, inputs.policy.emergency_lookback_h)

    @property
    def _chooses_lookback(self) -> bool:
        return bool(OF_LOOKBACK & self.policy.keys())


def changes(
    pairs: Sequence[str],
    recorded: ScoringProfile,
    profile: str | None = None,
    left_out: Collection[str] = (),
    no_sybil: bool = False,
) -> Changes:
    """From `name=value` texts. Raises ConfigError that says what is wrong with which of them, and what there is."""
    if profile is not None and profile not in PROFILES:
        raise ConfigError(f"there is no scoring profile {profile!r}; there are {', '.join(PROFILES)}")
    rule: dict[str, float] = {}
    policy: dict[str, Any] = {}
    parameters: dict[str, float] = {}
    of_profile = [each.name for each in fields(PROFILES[profile or recorded.name])]
    for pair in pairs:
        said, separator, value = pair.partition("=")
        name = name_of(said.strip().lower())
        if not separator:
            raise ConfigError(f"--set {pair} is no pair; write it like --set half_life=6")
        if name in (*rule, *policy, *parameters):
            raise ConfigError(f"--set {said} is given twice; give it once")
        if name in RULE:
            rule[name] = _value(said, value, RULE[name])
        elif name in POLICY:
            policy[name] = _value(said, value, POLICY[name])
        elif name in of_profile:
            parameters[name] = _number(said, value)
        else:
            raise ConfigError(f"--set {said}: there is no such name. {names_of(of_profile)}")
    other = None if profile == recorded.name else profile
    return Changes(rule, policy, other, parameters, tuple(map(Hotkey, left_out)), no_sybil)


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def name_of(said: str) -> str:
    """A field's own name, of that, of its setting's, or of a short one."""
    settings = {setting: name for name, setting in {**RULE, **POLICY}.items()}
    return SHORT.get(said) or settings.get(said) or said


def names_of(of_profile: Collection[str]) -> str:
    return f"Emissions: {', '.join(RULE)}. Policy: {', '.join(POLICY)}. Profile: {', '.join(of_profile)}"


def _value(said: str, text: str, setting: str) -> Any:
    """As the setting of that name would be read."""
    about = Settings.model_fields[setting]
    hours = hours_in(text) if setting.endswith("_h") else None
    given = text if hours is None else str(hours)
    try:
        kind = Annotated[about.annotation, *about.metadata] if about.metadata else about.annotation
        found: Any = TypeAdapter[Any](kind).validate_python(given)  # type: ignore[arg-type]  # of a field, at run time
        return found
    except (ValidationError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"--set {said}={text}: {why}") from error


def _number(said: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--set {said}={text} is no number") from error
