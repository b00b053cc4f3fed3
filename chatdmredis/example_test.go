package chatdmredis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
)

// This example requires a Redis server, so it is compiled but not run.
func ExampleNewLimiter() {
	// Without retries in the Redis client, calls fail faster during an outage.
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	limiter, err := chatdmredis.NewLimiter(rdb, "T012AB3C4/A0KRD7HC3") // the workspace and the app whose calls Slack counts
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := chatdm.NewClient(os.Getenv("SLACK_TOKEN"), chatdm.WithLimiter(limiter))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Conversations.Close(context.Background(), "D024BFF1M")
	if errors.Is(err, chatdmredis.ErrUnavailable) {
		fmt.Println("Redis is unavailable. The client sent nothing.")
	}
}

// During an outage of Redis, four processes continue, each at a quarter of the tier.
func ExampleWithLocalFallback() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()
	limiter, err := chatdmredis.NewLimiter(client, "T012AB3C4/A0KRD7HC3",
		chatdmredis.WithLocalFallback(0.25),
		chatdmredis.WithOnFallback(func(key string, err error) {
			if err != nil {
				slog.Warn("limiting locally, without Redis", "key", key, "error", err)
			} else {
				slog.Info("limiting through Redis again", "key", key)
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = limiter
}

// An app that is distributed outside the Slack Marketplace reads the history once per
// minute. This one also posts fewer messages than Slack allows, in all conversations
// together and in each of them.
func ExampleWithTier() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()
	limiter, err := chatdmredis.NewLimiter(client, "T012AB3C4/A0KRD7HC3",
		chatdmredis.WithTiers(chatdm.NonMarketplaceTiers()),
		chatdmredis.WithTier("slack.chat.postMessage", chatdm.Tier{PerMinute: 120}),
		chatdmredis.WithTier("slack.chat.postMessage/*", chatdm.Tier{PerMinute: 30, Burst: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = limiter
}

// A fleet of bots shares the tokens of one installation.
func ExampleNewTokenStore() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	store, err := chatdmredis.NewTokenStore(rdb, "A0KRD7HC3/T012AB3C4") // the app and the workspace
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := store.Load(context.Background())
	switch {
	case errors.Is(err, chatdmredis.ErrUnavailable):
		fmt.Println("Redis is unavailable. Try again later.")
	case err != nil:
		fmt.Println(err)
	case tokens == chatdm.Tokens{}:
		fmt.Println("Install the app first.")
	}
}

// The Redis server is far away, and a program may use only keys that start with "bots:".
func ExampleWithTokenStoreTimeout() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer rdb.Close()
	store, err := chatdmredis.NewTokenStore(rdb, "A0KRD7HC3/T012AB3C4",
		chatdmredis.WithTokenStoreTimeout(2*time.Second),
		chatdmredis.WithTokenStorePrefix("bots:"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = store
}

// After the installation, store the tokens that Slack has sent.
func ExampleTokenStore_Update() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer rdb.Close()
	store, err := chatdmredis.NewTokenStore(rdb, "A0KRD7HC3/T012AB3C4")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = store.Update(context.Background(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		return chatdm.Tokens{
			AccessToken: "xoxe.xoxb-1-…", RefreshToken: "xoxe-1-…", Expiry: time.Now().Add(12 * time.Hour),
		}, nil
	})
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleTokenStore_Load() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer rdb.Close()
	store, err := chatdmredis.NewTokenStore(rdb, "A0KRD7HC3/T012AB3C4")
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := store.Load(context.Background())
	fmt.Println(tokens, err) // without the secrets
}
