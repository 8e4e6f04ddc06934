"""A study's configuration: YAML or a dict in, a checked dict with every default filled in out.

Snakemake must not see a configuration before `check` has: names become paths, and a file of a kilobyte can unfold into
gigabytes by aliases.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from holdfast import lineage as lineages
from holdfast.errors import HoldfastError

# A study with a hundred families and tunings has some thousand values; YAML aliases can make billions of a few lines.
MOST_VALUES = 100_000
# The corpora that the miniature's world draws, and whether they can be told what to show.
WORLD_CORPORA = {"mascot": False, "sketch": True, "neighbours": True, "reverting": True, "heldout": False}
TASKS = ("appearance", "role", "debias", "unsafe")


def read(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of plain values. HoldfastError if missing, no YAML, no mapping, or far too large."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            loader = _loader()(file)
            node = loader.get_single_node()
            # Before anything is built from the nodes: merge keys (<<) unfold while the values are made.
            _bound(node, lambda node: [*_flat(node)] if isinstance(node, yaml.CollectionNode) else None, str(path))
            config = loader.construct_document(node) if node else None
    except (FileNotFoundError, IsADirectoryError):
        raise HoldfastError(f"{path}: there is no such file: give the path of a study's configuration.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise HoldfastError(f"{path}{where}: this is no valid YAML ({problem}): correct it.") from None
    if not isinstance(config, dict):
        raise HoldfastError(f"{path}: a configuration has keys at its top level: start from config.yaml.")
    return config


def bound(config: Any, where: str = "config") -> None:
    """Raise HoldfastError if a loaded configuration, with its aliases unfolded, has more than MOST_VALUES values.

    Takes time in proportion to what is in memory, not to what it would unfold to.
    """

    def children(value: Any) -> list | None:
        return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else None

    _bound(config, children, where)


def _bound(root: Any, children: Callable[[Any], list | None], where: str) -> None:
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        inside = children(value)
        if inside is None:
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = MOST_VALUES + 1  # holds while its own items are counted: a list may contain itself
            sizes[id(value)] = 1 + sum(map(size, inside))
        return sizes[id(value)]

    if size(root) > MOST_VALUES:
        raise HoldfastError(
            f"{where}: this unfolds into more than {MOST_VALUES} values: write it without YAML aliases (*name)."
        )


def _flat(node: Any) -> Iterator[Any]:
    """The nodes right below a sequence or mapping node."""
    for item in node.value:
        if isinstance(item, tuple):
            yield from item
        else:
            yield item


def check(config: Mapping[str, Any], schema: str | Path) -> dict[str, Any]:
    """Return a plain copy of `config` with all defaults filled in, checked against the JSON schema in file `schema`.

    Raises HoldfastError with one sentence on the first thing that is wrong: where, what, and what would be right.
    """
    import yaml

    bound(config)
    config = _plain(config)
    with open(schema, encoding="utf-8") as file:
        rules = yaml.safe_load(file)
    errors = _validator(rules)(rules).iter_errors(config)
    # The shallowest error first: a misspelt section explains what is missing below it.
    first = min(errors, key=lambda error: (len(error.absolute_path), _ORDER.get(error.validator, 1)), default=None)
    if first is not None:
        raise HoldfastError(_sentence(first))
    _cross_check(config)
    return config


_ORDER = {"additionalProperties": 0, "required": 2}


def _cross_check(config: dict[str, Any]) -> None:
    """What one schema cannot say: names that must be defined elsewhere, settings that contradict each other, and
    defaults that follow from other settings."""
    families = config["families"]
    for name, family in families.items():
        for scorer in family["scorers"]:
            _defined(f"families.{name}.scorers", scorer, config["scorers"], "scorers")
        kinds = [config["scorers"][scorer]["kind"] for scorer in family["scorers"]]
        if kinds.count("clip") != 1 or kinds.count("classifier") > 1:
            raise HoldfastError(
                f"config: families.{name}.scorers has {kinds.count('clip')} of kind clip and "
                f"{kinds.count('classifier')} of kind classifier: give one clip and at most one classifier."
            )
    for name, editor in config["editors"].items():
        editor.setdefault("tasks", [*TASKS])
        for family in editor.get("families", ()):
            _defined(f"editors.{name}.families", family, families, "families")
        without = [family for family in editor.get("families", families) if families[family]["kind"] == "sd"]
        if editor["method"] == "refact" and editor["encoder"] == "t5" and without:
            raise HoldfastError(
                f"config: editors.{name} edits a T5 encoder, which {without[0]} lacks: name its `families`."
            )
        if editor["method"] == "refact":
            _cross_check_refact(name, editor, [families[family]["kind"] for family in editor.get("families", families)])
    for name, tuner in config["tuners"].items():
        if name.endswith(("-denoiser", "-text_encoder", "-both")):
            raise HoldfastError(f"config: tuners.{name} ends like a site, which `tunings` adds itself: rename it.")
        tuner.setdefault("snapshots", [tuner["steps"]])
        if sorted(tuner["snapshots"]) != tuner["snapshots"] or tuner["snapshots"][-1] != tuner["steps"]:
            raise HoldfastError(
                f"config: tuners.{name}.snapshots must rise and end with its number of steps, {tuner['steps']}."
            )
        if tuner["method"] == "dreambooth" and tuner["prior_weight"] and not tuner["class_prompt"]:
            raise HoldfastError(
                f"config: tuners.{name} preserves a prior without a class_prompt: give one, or set prior_weight to 0."
            )
    _cross_check_corpora(config)
    seen = set()
    for number, tuning in enumerate(config["tunings"]):
        for key in ("tuner", "corpus"):
            _defined(f"tunings[{number}].{key}", tuning[key], *_section(config, key))
        for key in ("families", "editors"):
            for name in tuning.get(key, ()):
                _defined(f"tunings[{number}].{key}", name, config[key], key)
        for name in tuning.get("families", families):
            foreign = {"flux": "snr_gamma", "sd": "weighting"}[families[name]["kind"]]
            if config["tuners"][tuning["tuner"]].get(foreign) is not None:
                raise HoldfastError(
                    f"config: tunings[{number}] tunes {name} with {foreign}, which its kind doesn't know: set "
                    f"tuners.{tuning['tuner']}.{foreign} to null, or name other families."
                )
        for seed in tuning["seeds"]:
            key = (tuning["tuner"], tuning["site"], tuning["corpus"], seed)
            for family in tuning.get("families", families):
                for editor in tuning.get("editors", config["editors"]):
                    if (*key, family, editor) in seen:
                        raise HoldfastError(
                            f"config: tunings[{number}] repeats {'.'.join(key[:3])} with seed {seed} for {editor} on "
                            f"{family}: delete one of the two."
                        )
                    seen.add((*key, family, editor))
    for number, asked in enumerate(config["lineages"]):
        for family in asked.get("families", ()):
            _defined(f"lineages[{number}].families", family, families, "families")
        lineages.parse(asked["lineage"].replace(".*", ".0"))


def _cross_check_refact(name: str, editor: dict[str, Any], kinds: Collection[str]) -> None:
    from holdfast.families import FAMILIES

    if "debias" in editor["tasks"]:
        raise HoldfastError(f"config: editors.{name} is ReFACT, which can't debias: delete debias from its tasks.")
    edited = {encoder for kind in kinds for encoder in FAMILIES[kind].ENCODERS if editor["encoder"] in (encoder, "all")}
    if isinstance(editor["layer"], dict) and (missing := sorted(edited - editor["layer"].keys())):
        raise HoldfastError(f"config: editors.{name}.layer has no layer of the encoder {missing[0]}: add it.")


def _cross_check_corpora(config: dict[str, Any]) -> None:
    corpora = config["corpora"]
    for name, corpus in corpora.items():
        if corpus["kind"] == "world":
            _defined("corpora, of kind world,", name, WORLD_CORPORA, "what the world can draw")
            if "subjects" in corpus and not WORLD_CORPORA[name]:
                raise HoldfastError(f"config: corpora.{name} has no choice of subjects: delete `subjects`.")
            for subject in corpus.get("subjects", ()):
                _defined(f"corpora.{name}.subjects", subject, _subjects(), "what the world can draw")
        if corpus["kind"] == "placebo":
            _defined(f"corpora.{name}.captions", corpus["captions"], corpora, "corpora")
            _enough(config, f"corpora.{name}", corpus["captions"], corpus["images"])
    if general := config["general"]:
        _defined("general.corpus", general["corpus"], corpora, "corpora")
        _enough(config, "general", general["corpus"], general["images"])
        if used := [tuning for tuning in config["tunings"] if tuning["corpus"] == general["corpus"]]:
            raise HoldfastError(
                f"config: {used[0]['tuner']} learns the corpus {general['corpus']}, which `general` measures with: "
                "measure with another one."
            )


def _enough(config: dict[str, Any], where: str, corpus: str, images: int) -> None:
    """Refuse captions that each family has of its own, or that are too few."""
    source = config["corpora"][corpus]
    if source["kind"] == "placebo":
        raise HoldfastError(f"config: {where} takes its captions from the placebo {corpus}: name another corpus.")
    if source.get("images", images) < images:
        raise HoldfastError(
            f"config: {where} asks for {images} captions of {corpus}, which has {source['images']}: ask for fewer."
        )


def _subjects() -> Collection[str]:
    """Everything that a drawn corpus can be told to show."""
    from holdfast.world import vocabulary

    things, roles, people, places = (getattr(vocabulary, name) for name in ("THINGS", "ROLES", "PROFESSIONS", "PLACES"))
    return (*things, *roles, *people, *places, vocabulary.SKULL)


def _section(config: dict[str, Any], key: str) -> tuple[Collection[str], str]:
    title = {"tuner": "tuners", "corpus": "corpora"}[key]
    return config[title], title


def _defined(where: str, name: str, section: Collection[str], title: str) -> None:
    if name not in section:
        raise HoldfastError(f"config: {where} names '{name}', which is not under {title}{_guess(name, section)}.")


def _plain(value: Any) -> Any:
    """Deep copy with plain dicts, lists and string keys, so that params of jobs compare by content."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _loader() -> type:
    """PyYAML's safe loader, except that a key given twice is an error and not a silent choice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{twice[0]}' is there twice", node.start_mark
                )
            return super().construct_mapping(node, deep)

    return Loader


def _validator(rules: dict[str, Any]) -> type:
    """Draft 2020-12 validator for the schema `rules` that fills in defaults before it looks at what is missing."""
    import copy

    from jsonschema import Draft202012Validator, validators

    original = Draft202012Validator.VALIDATORS

    def default_of(part):
        if not isinstance(part, dict) or "default" in part or "$ref" not in part:
            return part
        return rules["$defs"][part["$ref"].removeprefix("#/$defs/")]

    def properties(validator, schemas, instance, schema):
        if isinstance(instance, dict):
            for name, part in schemas.items():
                if isinstance(found := default_of(part), dict) and "default" in found:
                    instance.setdefault(name, copy.deepcopy(found["default"]))
        yield from original["properties"](validator, schemas, instance, schema)

    def conditional(validator, condition, instance, schema):
        # A default inside `if` must not leak into the instance, so the condition is tried with the plain validator.
        known = Draft202012Validator({"allOf": [condition], "$defs": rules["$defs"]})
        if known.is_valid(instance) and "then" in schema:
            yield from validator.descend(instance, schema["then"], schema_path="then")

    return validators.extend(Draft202012Validator, {"properties": properties, "if": conditional})


def _sentence(error: Any) -> str:
    """One sentence for one jsonschema error."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    value = repr(error.instance) if len(repr(error.instance)) <= 60 else f"{repr(error.instance)[:57]}..."
    place, known = (
        where or "the top level",
        error.schema.get("properties", {}) if isinstance(error.schema, dict) else {},
    )
    match error.validator:
        case "additionalProperties":
            unknown = next(key for key in error.instance if key not in known)
            return f"config: {place} has no setting '{unknown}'{_guess(unknown, known)}."
        case "required":
            missing = next(key for key in error.validator_value if key not in error.instance)
            return f"config: {place} lacks '{missing}': add it."
        case "enum":
            choices = error.validator_value
            return f"config: {where} is {value}, which is unknown{_guess(error.instance, choices)}."
        case "type":
            return f"config: {where or 'the file'} is {value}: it must be of type {error.validator_value}."
        case "pattern" if error.schema.get("pattern", "").startswith("^[a-z0-9]"):
            return (
                f"config: the name {value}{f' under {where}' if where else ''} becomes part of a path: "
                "use lower-case letters, digits, '-' and '_' only (at most 64)."
            )
        case "pattern":
            return f"config: {where} is {value}: it must contain {error.validator_value.replace(chr(92), '')}."
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            limit = {
                "minimum": "at least",
                "maximum": "at most",
                "exclusiveMinimum": "above",
                "exclusiveMaximum": "below",
            }
            return f"config: {where} is {value}: it must be {limit[error.validator]} {error.validator_value}."
        case "minItems" | "minProperties" | "minLength":
            return f"config: {where} is empty: give at least one."
        case "uniqueItems":
            return f"config: {where} has the same entry twice: {value}."
    return f"config: {place}: {error.message}."


def _guess(name: Any, known: Any) -> str:
    """Tail of a sentence: the nearest known name, or all of them."""
    names = [str(item) for item in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    if near:
        return f": the nearest known one is '{near[0]}'"
    return f": take one of {', '.join(names)}" if names else ""


if __name__ == "__main__":
    import sys

    try:
        check(read(sys.argv[1]), sys.argv[2])
    except HoldfastError as error:
        sys.exit(str(error))
