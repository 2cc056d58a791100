"""What a browser may say over its WebSocket: the messages that pages of this app send, and no larger.

A message of some bytes may cost the server seconds, and what it costs the event loop everybody waits for. Others are of
whoever runs the server, such as clearing the caches of all, and Streamlit takes those from anybody.
"""

from __future__ import annotations

from enum import Enum, auto

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackMsg

MESSAGE_BYTES = 2**20  # the app's own, with whole pictures in them, are larger
FILES_AT_ONCE = 100  # that an upload dialogue asks addresses for
_WIDGETS = 1000  # on all pages together
MOST_QUERY = 2**14  # characters after the ? of an address
_KINDS = ("rerun_script", "stop_script", "file_urls_request", "app_heartbeat", "backend_operation_request")
_OPERATIONS = ("deferred_file", "dataframe_chunk")  # making a download, scrolling a long table


class Verdict(Enum):
    """What happens to a message."""

    TAKEN = auto()
    DROPPED = auto()
    TOO_MUCH = auto()


def judge(data: bytes) -> Verdict:
    """Whether a message is one that a page sends. What is no message at all is taken: Streamlit closes on it."""
    if len(data) > MESSAGE_BYTES:
        return Verdict.TOO_MUCH
    try:
        message = BackMsg.FromString(data)
    except DecodeError:
        return Verdict.TAKEN
    kind = message.WhichOneof("type")
    if kind not in _KINDS:
        return Verdict.DROPPED
    if kind == "backend_operation_request":
        operation = message.backend_operation_request.WhichOneof("payload")
        return Verdict.TAKEN if operation in _OPERATIONS else Verdict.DROPPED
    return Verdict.TOO_MUCH if _asks_too_much(message) else Verdict.TAKEN


def _asks_too_much(message: BackMsg) -> bool:
    state = message.rerun_script
    return (
        len(message.file_urls_request.file_names) > FILES_AT_ONCE
        or len(state.widget_states.widgets) > _WIDGETS
        or len(state.query_string) > MOST_QUERY
    )
