package chatdmredis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
)

// It needs a Redis, and so it is not run.
func ExampleNewLimiter() {
	// Its own retries would only make an outage longer.
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
		fmt.Println("Redis is gone; nothing was sent")
	}
}

// Four processes that go on without Redis, each at a quarter of the budget.
func ExampleWithLocalFallback() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()
	limiter, err := chatdmredis.NewLimiter(client, "T012AB3C4/A0KRD7HC3",
		chatdmredis.WithLocalFallback(0.25),
		chatdmredis.WithOnFallback(func(key string, err error) {
			if err != nil {
				slog.Warn("pacing without Redis", "key", key, "error", err)
			} else {
				slog.Info("pacing on Redis again", "key", key)
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = limiter
}

// Slack allows about a message a second in a channel, which is no tier of the
// method: here one channel is all that the app writes to.
func ExampleWithTier() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()
	limiter, err := chatdmredis.NewLimiter(client, "T012AB3C4/A0KRD7HC3",
		chatdmredis.WithTier("slack.chat.postMessage", chatdm.Tier{PerMinute: 60, Burst: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = limiter
}
