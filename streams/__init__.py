"""The worker: batched Faust transport around a pipeline that knows no Faust."""
