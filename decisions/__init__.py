"""From features to a decision: policy, rules, scoring, champion and challenger. Independent of Kafka."""
