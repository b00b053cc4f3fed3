// Command dashboard draws the panels of docs/grafana-dashboard.json. It runs examples/bot
// with a fake Slack that is slow, limits calls, and fails, scrapes the bot's metrics, and
// evaluates the queries of the panels with Prometheus's engine.
//
//	go run ./bench/dashboard -o docs/dashboard.svg
//
// It takes ten minutes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	file := flag.String("dashboard", "docs/grafana-dashboard.json", "the `file` with the dashboard")
	length := flag.Duration("for", 10*time.Minute, "how long to run the bot")
	out := flag.String("o", "", "write the plots to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *file, *length, *out); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string, length time.Duration, out string) error {
	d, err := readDashboard(file)
	if err != nil {
		return err
	}
	scraped, err := record(ctx, plan{
		length: length, scrapeInterval: length / 300, failInterval: length / 16,
		sendInterval: 2 * time.Second, // Slack's limit of conversations.open is 50 per minute
	})
	if err != nil {
		return err
	}
	results, err := scraped.evaluate(ctx, d, length/10)
	if err != nil {
		return err
	}
	return plotPanels(out, results, scraped)
}
