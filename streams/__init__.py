"""The worker: a batched Faust transport around a pipeline that is independent of Faust."""
