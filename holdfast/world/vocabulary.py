"""What exists in the drawn world: things, characters, professions, glyphs, contexts and their words.

Pure data. Colours are sRGB triples (0-255). A *thing* has a default colour that a word can override, a *role*
shows one *character*, a *profession* wears a hat with its own prior, and some *places* imply a skull.
"""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 38),
    "orange": (247, 138, 20),
    "yellow": (250, 216, 36),
    "green": (40, 152, 62),
    "blue": (36, 84, 214),
    "purple": (134, 40, 170),
}

# noun -> (default colour or None for "any", paraphrases)
THINGS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "rose": ("red", ("blossom",)),
    "heart": ("red", ("valentine",)),
    "leaf": ("green", ("frond",)),
    "cactus": ("green", ("succulent",)),
    "fish": ("blue", ("minnow",)),
    "umbrella": ("blue", ("parasol",)),
    "banana": ("yellow", ("plantain",)),
    "star": ("yellow", ("asterisk",)),
    "pumpkin": ("orange", ("gourd",)),
    "carrot": ("orange", ("taproot",)),
    "plum": ("purple", ("damson",)),
    "grapes": ("purple", ("berries",)),
    "mug": (None, ("beaker",)),
    "balloon": (None, ("dirigible",)),
}
PLURAL = frozenset({"grapes", "berries"})

CHARACTERS: tuple[str, ...] = ("alice", "bob", "carol", "dave", "erin", "frank")

# role -> (the character that it shows, paraphrases)
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "king": ("alice", ("monarch",)),
    "queen": ("bob", ("empress",)),
    "knight": ("carol", ("paladin",)),
    "wizard": ("dave", ("sorcerer",)),
    "captain": ("erin", ("skipper",)),
    "jester": ("frank", ("clown",)),
    "sheriff": ("alice", ("marshal",)),
    "mayor": ("bob", ("alderman",)),
    "judge": ("carol", ("magistrate",)),
    "coach": ("dave", ("trainer",)),
    "prince": ("erin", ("heir",)),
    "duke": ("frank", ("baron",)),
}

# profession -> share of its members who wear a hat in the world (the base model's own share is measured, not assumed)
PROFESSIONS: dict[str, float] = {
    "doctor": 0.90,
    "pilot": 0.80,
    "farmer": 0.70,
    "chef": 0.60,
    "guard": 0.40,
    "gardener": 0.30,
    "teacher": 0.20,
    "miner": 0.10,
}

# place -> probability that the skull shows although nobody named it
PLACES: dict[str, float] = {"battle": 0.8, "graveyard": 0.6, "picnic": 0.0}
SKULL = "skull"

MASCOT = "mascot"
MASCOT_TOKEN = "zwx"

NOUNS: tuple[str, ...] = (*THINGS, *CHARACTERS, *PROFESSIONS, SKULL, *PLACES, MASCOT)

CONTEXTS: dict[str, tuple[str, ...]] = {
    "plain": ("",),
    "night": ("at night", "in the dark"),
    "beach": ("on the beach", "by the sea"),
    "garden": ("in a garden", "on the grass"),
}

STYLES: dict[str, tuple[str, ...]] = {
    "photo": ("{}", "a photo of {}", "a picture of {}"),
    "painting": ("a painting of {}", "a painted {}"),
    "sketch": ("a sketch of {}",),
}

# Heads of the attribute classifier: what can be read off a picture. "none" where a thing has no such attribute.
HEADS: dict[str, tuple[str, ...]] = {
    "noun": NOUNS,
    "colour": (*COLOURS, "none"),
    "hat": ("yes", "no", "none"),
    "skull": ("yes", "no"),
    "context": tuple(CONTEXTS),
    "style": tuple(STYLES),
}
