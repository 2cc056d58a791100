"""What single pages are made of, a module for each subject; `ui.parts` has what several share."""
