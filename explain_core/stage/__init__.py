"""The stage, which is the one picture of a page, as numbers.

`scene_of` says what is drawn and `view` what is visible of it: pure functions, whose sums are the explanation's.
"""

from explain_core.stage.scene import Scene, Words, scene_of
from explain_core.stage.view import View, view

__all__ = ["Scene", "View", "Words", "scene_of", "view"]
