// Package rocketchat is a client for the life of a direct message on
// Rocket.Chat, from server version 3.18 to 8: it creates, opens, closes and
// deletes it. It shares the errors and the options of package chatdm, so that
// one errors.Is serves both platforms.
//
//	creds, err := rocketchat.Login(ctx, "https://chat.example.org", user, password)
//	client, err := rocketchat.NewClient("https://chat.example.org", creds)
//	res, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
//	_, err = client.IM.Delete(ctx, rocketchat.RoomID(res.Room.ID))
//
// # Errors
//
// Servers of different versions say the same thing with different statuses and
// bodies; the sentinels of this package stand for what they mean. A code comes
// from errorType, else from the [code] at the end of the text, else from the
// texts and statuses that are known. Free text (a failure of the database is
// an HTTP 400 there) is kept in Message, with [chatdm.KindUnknown].
//
// # Limits
//
// Rocket.Chat counts the calls of an endpoint by IP address, 10 a minute by
// default, so that everybody behind one address shares them. It answers 429
// without Retry-After; the wait comes from X-RateLimit-Reset, measured on the
// server's own clock, else from the text.
//
// # Retries
//
// As for package chatdm. [IMService.Create], Open and Close are repeated when
// an answer is lost; [IMService.Delete], [Login] and [Client.Call] are not, and
// then fail with [chatdm.ErrEffectUnknown].
package rocketchat
