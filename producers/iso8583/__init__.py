"""Messages of card switches (ISO 8583:1987) as transactions; the number of a card is never kept.

`form` says how an institution writes the fields, `message` reads a message and gives what may be kept of it, `cards`
makes account ids of card numbers, and `transaction` makes an event of it; `file` reads files of messages.
"""
