// Package rocketchat provides a client for direct messages on Rocket.Chat 3.18 to 8. It
// finds users, creates, opens, closes, and deletes direct messages, sends messages, and
// reads the history. It uses the errors and options of package chatdm, so the same
// errors.Is check works for both platforms.
//
//	creds, err := rocketchat.Login(ctx, "https://chat.example.org", user, password)
//	client, err := rocketchat.NewClient("https://chat.example.org", creds)
//	res, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
//	sent, err := client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{
//		RoomID: res.Room.ID, Text: "Standup in five minutes.", Key: "standup/2026-11-21",
//	})
//	_, err = client.IM.Delete(ctx, rocketchat.RoomID(res.Room.ID))
//
// # Errors
//
// Different server versions report the same error with different statuses and bodies.
// The sentinels of this package hide the differences. An error's code comes from
// its errorType, from brackets at the end of its text, or from a known text or
// status. An error without a code has [chatdm.KindUnknown], and its Message is the
// server's text. For example, servers report a database failure as a 400 without a code.
// From [ChatService.SendMessage], such an error has [chatdm.KindUnavailable] instead,
// because the server may have stored the message.
//
// # Messages with a key
//
// A server accepts each message ID only once. If a message has a Key, the client
// derives the ID from the user, the room, and the key. It can then retry the call, and
// a program can repeat it after a crash, without sending the message twice. See
// [ChatSendMessageParams].
//
// # Rate limits and retries
//
// By default, Rocket.Chat allows 10 calls per minute for each endpoint and IP
// address, so all clients behind one address share the limit. [Tiers] returns these limits
// for a limiter. A 429 has no
// Retry-After header. The client computes the wait from X-RateLimit-Reset and the
// server's clock, or reads it from the error text.
//
// The retry rules are those of package chatdm. [IMService.Delete], [Login], [Resume],
// [Client.Call], and [ChatService.SendMessage] without a Key are not idempotent. All
// other calls are.
package rocketchat
