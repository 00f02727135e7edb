"""Another institution's topic, turned into transactions exactly once: the bridge. And back: Vedette's topics in Avro.

`decoding` reads a message's value as a record, `conversion` makes events of a batch of them by a mapping, `loop` and
`mirror` say what is published, `copying` moves it within Kafka transactions, and `endpoint` runs that as a service.
"""
