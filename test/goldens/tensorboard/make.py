"""Records as TensorBoard's own package writes them: python make.py > events.json (made with tensorboard 2.21.0)."""
import io
import json

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


def record(event):
    out = io.BytesIO()
    out.close = lambda: None
    writer = RecordWriter(out)
    writer.write(event.SerializeToString())
    writer.flush()
    return out.getvalue().hex()


scalars = summary_pb2.Summary(
    value=[
        summary_pb2.Summary.Value(tag="train/loss", simple_value=2.5),
        summary_pb2.Summary.Value(tag="train/norm", simple_value=float("inf")),
    ]
)
text = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=["seed: 1, tëxt".encode()])
text.tensor_shape.SetInParent()
plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
config = summary_pb2.Summary(
    value=[
        summary_pb2.Summary.Value(
            tag="config", tensor=text, metadata=summary_pb2.SummaryMetadata(plugin_data=plugin)
        )
    ]
)
print(
    json.dumps(
        {
            "version": record(event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2")),
            "scalars": record(event_pb2.Event(wall_time=1700000000.5, step=5_000_000_000, summary=scalars)),
            "text": record(event_pb2.Event(wall_time=1700000001, step=3, summary=config)),
        },
        indent=2,
    )
)
