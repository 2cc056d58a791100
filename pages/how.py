"""How the numbers are made and how far they can be trusted, in plain words."""

import streamlit as st

from ui import frame
from ui.picture import pair_picture

PICTURE = (
    "A sequence and its baseline run through the model side by side. Their answers differ by 14.5 °C, and the way back "
    "gives each of three timesteps its share: +1.5, −0.5 and +13.5 °C."
)


def draw() -> None:
    st.title("How it works")
    st.markdown(
        """
A prediction is explained against a **baseline**: a sequence of average weather, say. The model answers one
number for your sequence and another for the baseline. PairLift splits the difference between the two
answers among all values of the sequence, one share for each feature at each timestep. An orange share
raised the answer, a blue share lowered it.
"""
    )
    st.image(pair_picture(frame.theme()), width="stretch", alt=PICTURE)
    st.markdown(
        """
##### The shares add up
All shares together are the whole difference, up to the rounding of the computer's own arithmetic. What is
left over stands beside every result ("adds up: off by 3e-8"). It is never spread over the shares to make it
vanish.

##### How that is done
PairLift runs the model on your sequence and on the baseline side by side, and goes backwards through every
operation that the model did. At each operation it asks how much the result differed between the two runs,
and hands exactly that difference on to what went in. So nothing is lost on the way: not in the gates of an
LSTM, not over thousands of timesteps. The method is known as DeepLIFT (Shrikumar and others, 2017); where
two values are multiplied, as in a gate, each gets its Shapley share (Lundberg and Lee, 2017). With several
baselines the result is their average, known as DeepSHAP.

##### When it cannot be done
If a model uses an operation for which no exact rule is known, PairLift stops and names it. It does not go
on with an approximation.

##### What a share means, and what it does not
- A share says how this model came to this answer. It does not say what would happen in the world.
- It depends on the baseline. Another baseline asks another question: choose the one you would like to
  compare with.
- Values that always move together can be told apart by the model in any way it likes, and then so are their
  shares.

##### Your files
Models and sequences stay on the machine that runs this app. A model is opened in a process of its own,
after a check that nothing in the file can run as code. PyTorch models (`.pt2`, TorchScript, state dicts) and
Keras models (`.keras`, `.h5`, SavedModels) have an engine each, in PyTorch and in TensorFlow. The two share their
formulas and nothing else, and give the same numbers for the same weights.
"""
    )


frame.page(draw)
