-- One row per transaction, with everything that became of it. The only definition of `payments`.
--
-- The tables may be views of a part of the archive. Messages that were published more than once count once: of equal
-- keys the first by partition and offset stands. `found` is what the question asks for, by transaction and account.
WITH
payment AS (
    SELECT * FROM transactions WHERE {filter}
    QUALIFY row_number() OVER (PARTITION BY transaction_id, account_id ORDER BY kafka_partition, kafka_offset) = 1
),
-- The first decision that is neither degraded nor final stands; a degraded one does only where no other followed.
standing AS (
    SELECT d.* FROM decisions d SEMI JOIN payment USING (transaction_id, account_id)
    WHERE d.final IS NOT TRUE
    QUALIFY row_number() OVER (
        PARTITION BY d.transaction_id, d.account_id ORDER BY d.degraded, d.kafka_partition, d.kafka_offset
    ) = 1
),
final_decision AS (
    SELECT d.* FROM decisions d SEMI JOIN payment USING (transaction_id, account_id)
    WHERE d.final
    QUALIFY row_number() OVER (
        PARTITION BY d.transaction_id, d.account_id ORDER BY d.kafka_partition, d.kafka_offset
    ) = 1
),
-- A challenge is what its outcome says, and issued until it has one.
challenge AS (
    SELECT c.* FROM challenges c SEMI JOIN payment USING (transaction_id, account_id)
    QUALIFY row_number() OVER (
        PARTITION BY c.transaction_id, c.account_id
        ORDER BY c.status = 'issued', c.kafka_partition, c.kafka_offset
    ) = 1
),
-- The latest knowledge counts; of labels known at the same moment, the one that arrived last.
label AS (
    SELECT l.* FROM labels l SEMI JOIN payment USING (transaction_id, account_id)
    QUALIFY row_number() OVER (
        PARTITION BY l.transaction_id, l.account_id
        ORDER BY l.labelled_at DESC, l.kafka_partition DESC, l.kafka_offset DESC
    ) = 1
),
-- A payment belongs to the incident that was closed last.
incident AS (
    SELECT i.* FROM (
        SELECT unnest(transaction_ids) AS transaction_id, * EXCLUDE (transaction_ids) FROM incidents
    ) i SEMI JOIN payment USING (transaction_id, account_id)
    QUALIFY row_number() OVER (
        PARTITION BY i.transaction_id, i.account_id
        ORDER BY i.closed_at DESC, i.kafka_partition DESC, i.kafka_offset DESC
    ) = 1
)
SELECT
    p.transaction_id,
    p.account_id,
    p.event_time,
    p.amount,
    p.currency,
    p.merchant_id,
    p.payee,
    p.mcc,
    p.channel,
    p.country,
    p.device_id,
    p.ip_address,
    p.account_type,
    coalesce(p.kind, 'payment') AS kind,
    p.original_id,
    s.action,
    CASE WHEN s.model <> '' THEN s.score END AS score,
    s.expected_loss,
    s.reasons,
    s.reason_codes,
    s.reason_weights,
    s.rules,
    s.model,
    s.policy,
    s.degraded,
    coalesce(f.action, s.action) AS final_action,
    c.challenge_id,
    c.status AS challenge_status,
    c.factor AS challenge_factor,
    c.settled_at AS challenge_settled_at,
    l.fraud,
    l.source AS label_source,
    l.labelled_at,
    i.incident_id,
    i.state AS incident_state,
    i.closed_at AS incident_closed_at,
    p.produced_at,
    s.produced_at AS decided_at,
    p.kafka_partition,
    p.kafka_offset,
    s.kafka_partition AS decision_partition,
    s.kafka_offset AS decision_offset
FROM payment p
LEFT JOIN standing s USING (transaction_id, account_id)
LEFT JOIN final_decision f USING (transaction_id, account_id)
LEFT JOIN challenge c USING (transaction_id, account_id)
LEFT JOIN label l USING (transaction_id, account_id)
LEFT JOIN incident i USING (transaction_id, account_id)
