package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// newClients makes a client for each workspace, by its token. Each has a limiter
// of its own; the connections are in one pool for all of them.
func newClients(slackURL string, tokens map[string]string) (map[string]*chatdm.Client, error) {
	clients := make(map[string]*chatdm.Client)
	for workspace, token := range tokens {
		client, err := chatdm.NewClient(token, chatdm.WithBaseURL(slackURL), chatdm.WithLimiter(chatdm.NewTierLimiter()))
		if err != nil {
			return nil, fmt.Errorf("workspace %s: %w", workspace, err)
		}
		clients[workspace] = client
	}
	return clients, nil
}

// owner is the process that makes all calls for a workspace. When a process
// comes or goes, only the workspaces that it owns change hands.
func owner(workspace string, processes []string) string {
	weight := func(process string) []byte {
		sum := sha256.Sum256([]byte(workspace + " " + process))
		return sum[:]
	}
	return slices.MaxFunc(processes, func(a, b string) int {
		return cmp.Or(bytes.Compare(weight(a), weight(b)), cmp.Compare(a, b))
	})
}

// workspace returns a name for one of many workspaces.
func workspace(i int) string { return fmt.Sprintf("T%08d/A0KRD7HC3", i) }

// A client for each workspace.
func Example_clients() {
	slack := chatdmtest.NewSlack() // one stands for both
	defer slack.Close()
	clients, err := newClients(slack.URL, map[string]string{"T1": chatdmtest.BotToken, "T2": chatdmtest.UserToken})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, workspace := range slices.Sorted(maps.Keys(clients)) {
		dm, err := clients[workspace].Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
		fmt.Println(workspace, err == nil && dm.Channel.ID != "")
	}
	// Output:
	// T1 true
	// T2 true
}

// A thousand workspaces on three processes, of which one stops.
func Example_owner() {
	three, two := []string{"p1", "p2", "p3"}, []string{"p1", "p2"}
	owned, moved := make(map[string]int), 0
	for i := range 1000 {
		was, is := owner(workspace(i), three), owner(workspace(i), two)
		owned[was]++
		if was != is && was != "p3" {
			moved++
		}
	}
	fmt.Println(owned, "and", moved, "others moved")
	// Output:
	// map[p1:336 p2:335 p3:329] and 0 others moved
}
