"""The attributes of a scene by name, and the words a caption may use for each.

A name is what a scene is built from ("purple", "dark sea"); its phrases are what captions say. The order of each
table is that of the indices in `Scenes` and may only grow at the end. Standard library only: knows nothing of pixels.
"""

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "gold": ("gold", "golden"),
    "yellow": ("yellow",),
    "green": ("green",),
    "teal": ("teal", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
}

SUBJECTS: dict[str, tuple[str, ...]] = {
    "tulip": ("tulip",),
    "jellyfish": ("jellyfish",),
    "star": ("star",),
    "ring": ("ring",),
    "flame": ("flame",),
    "wave": ("wave",),
    "cell": ("cell",),
    "moon": ("moon",),
    "crystal": ("crystal",),
    "bird": ("bird",),
    "smoke": ("smoke",),
    "spiral": ("spiral",),
    "eye": ("eye",),
    "feather": ("feather",),
    "butterfly": ("butterfly",),
    "fish": ("fish",),
}

MOTIONS: dict[str, tuple[str, ...]] = {
    "still": ("resting", "at rest"),
    "swaying": ("swaying",),
    "drifting left": ("drifting left", "drifting to the left"),
    "drifting right": ("drifting right", "drifting to the right"),
    "rising": ("rising",),
    "falling": ("falling", "sinking"),
    "spinning": ("spinning", "turning"),
    "pulsing": ("pulsing", "breathing"),
    "orbiting": ("orbiting", "circling"),
    "flickering": ("flickering",),
    "dancing": ("dancing",),
    "growing": ("growing",),
}

PLACES: dict[str, tuple[str, ...]] = {
    "dark sea": ("over a dark sea", "above dark water"),
    "desert dunes": ("over desert dunes", "in the desert"),
    "starry night": ("in a starry night", "among the stars"),
    "misty forest": ("in a misty forest", "in the forest"),
    "mountains": ("above the mountains", "in the mountains"),
    "city lights": ("above city lights", "in the city at night"),
    "cave": ("in a cave", "in a deep cave"),
    "clouds": ("in the clouds", "above the clouds"),
    "underwater": ("underwater", "under the sea"),
    "snowfield": ("over a snowfield", "in the snow"),
    "darkness": ("in darkness", "in empty darkness"),
}

LIGHTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "soft light": ("in soft light",),
    "neon": ("in neon", "neon glow"),
    "golden light": ("in golden light",),
    "moonlight": ("in moonlight",),
    "fog": ("in fog", "with fog"),
    "dust": ("with floating dust", "with dust in the air"),
}

CAMERAS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "zoom in": ("slow zoom in",),
    "zoom out": ("slow zoom out",),
    "pan left": ("pan left", "camera moving left"),
    "pan right": ("pan right", "camera moving right"),
}

HUES: dict[str, float] = {
    "red": 0.992,
    "orange": 0.062,
    "gold": 0.112,
    "yellow": 0.158,
    "green": 0.365,
    "teal": 0.487,
    "blue": 0.615,
    "purple": 0.760,
    "pink": 0.905,
}
"""Central hue of every colour word that is a hue, as a fraction of the colour circle (red = 0, green = 1/3)."""
