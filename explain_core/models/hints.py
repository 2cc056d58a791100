"""What the errors about model files share."""

import struct

#: What PyTorch's readers were seen to raise on damaged files; none of them says what is wrong.
READER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

NO_RECURRENT = "The model has no recurrent layer; it is explained all the same, without gates to show."

QUANTIZED = "The model is quantized: its weights are packed for one kind of processor, and rounded when it runs."
QUANTIZED_HINT = "Give the model as it was before quantization. "

#: How sentences begin that say what a state dict leaves open.
ASSUMED = "Not in the file, so assumed or chosen. "

#: The lines of Python that turn a live model into a file. `torch.export` fixes the timesteps of PyTorch's recurrent
#: layers, whatever it is told of them; tracing leaves them open, and writes a program, which not every server opens.
EXPORT_HINT = """In Python, these lines write files that open as they are:
    example = (torch.randn(2, timesteps, features),)
    # 1. For any number of samples and timesteps. A program: it opens where the server has a sandbox.
    torch.jit.trace(model.eval(), example).save("model.pt")
    # 2. Opens everywhere, for any number of samples. Recurrent layers keep the timesteps of the example.
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(model.eval(), example, dynamic_shapes=(free,))
    torch.export.save(program, "model.pt2")"""


def any_steps(timesteps: int, features: int) -> str:
    """The lines of Python that write a model again whose file takes one number of timesteps only."""
    return f"""    # PyTorch: a trace leaves the timesteps open. torch.export keeps those of recurrent layers.
    torch.jit.trace(model.eval(), (torch.randn(2, {timesteps}, {features}),)).save("model.pt")
    # Without recurrent layers, or for a loop of your own, torch.export can leave them open too:
    free = ({{0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}},)
    program = torch.export.export(model.eval(), (torch.randn(2, {timesteps}, {features}),), dynamic_shapes=free)
    torch.export.save(program, "model.pt2")
    # Keras: build the model with an input of this shape, and give it the weights of the one before.
    keras.Input((None, {features}))"""


def first_line(error: BaseException | str) -> str:
    """The first line of a framework's message, which is the one for people; its type where there is none."""
    lines = str(error).strip().splitlines()
    if isinstance(error, LookupError) or not lines:  # of a dictionary's it is the key alone
        return ": ".join((type(error).__name__, *lines[:1]))
    return lines[0]
