package rocketchat

import "github.com/chatdm/chatdm"

// Tiers returns a new map from [chatdm.Limiter] keys to the default limits of a server:
// 10 calls per minute for each endpoint and IP address. It has a tier for every
// endpoint of the typed methods. Pass it to [chatdm.WithTiers], and share the limiter
// among all clients of a server that have the same IP address:
//
//	limiter := chatdm.NewTierLimiter(chatdm.WithTiers(rocketchat.Tiers()))
//	client, err := rocketchat.NewClient(url, creds, chatdm.WithLimiter(limiter))
//
// The server allows the calls of a minute in one burst, and so do these tiers. It does not
// limit administrators, bots, or apps, so their clients need no limiter.
//
// Servers before 8.0 count each call of an im method twice. For them, set the tiers of
// these methods to 5 calls per minute with [chatdm.WithTier].
func Tiers() map[string]chatdm.Tier {
	tiers := make(map[string]chatdm.Tier)
	for _, endpoint := range []string{
		"chat.sendMessage", "chat.getMessage",
		"im.create", "im.open", "im.close", "im.delete", "im.history",
		"users.info", loginPath,
	} {
		tiers[service+"."+endpoint] = chatdm.Tier{PerMinute: 10, Burst: 10}
	}
	return tiers
}
