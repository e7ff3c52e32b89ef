package caddymodule

import (
	"slices"
	"strings"
	"testing"
)

// complete asks as a shell's completion does what could stand where the last
// argument is.
func complete(t *testing.T, args ...string) (offers []string, directive string) {
	t.Helper()
	out, _, err := completeCommand(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(line, "\t") // the rest explains it
		offers = append(offers, word)
	}
	return offers, lines[len(lines)-1]
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	const noFiles, noFilesKeepOrder, noFilesNoSpace = ":4", ":36", ":6"
	for _, tc := range []struct {
		args      []string
		all       bool // nothing else is offered
		want      []string
		directive string
	}{
		{[]string{""}, false, []string{"report", "conversions", "journal", "click", "health", "test", "replay", "import", "export",
			"erase", "backup", "restore", "migrate", "check", "networks", "url", "version"}, noFiles},
		{[]string{"re"}, true, []string{"replay", "report", "restore"}, noFiles},
		{[]string{"report", ""}, true, nil, noFiles},
		{[]string{"report", "--so"}, true, []string{"--sort", "--source"}, noFiles},
		{[]string{"report", "--by", ""}, true, []string{"campaign", "source", "event", "destination", "hour", "day", "month", "sub."}, noFilesNoSpace},
		{[]string{"report", "--by", "day,c"}, true, []string{"day,campaign"}, noFilesNoSpace},
		{[]string{"report", "--by=campaign,day,"}, false, []string{"campaign,day,source"}, noFilesNoSpace},
		{[]string{"report", "--by", "campaign,c"}, true, nil, noFilesNoSpace},
		{[]string{"report", "--from", "last"}, true, []string{"last-week", "last-month", "last-year"}, noFilesKeepOrder},
		{[]string{"export", "clicks", "--tz", "A"}, true, []string{"Africa/", "America/", "Asia/", "Atlantic/", "Australia/"}, noFilesNoSpace},
		{[]string{"report", "--sort=-re"}, true, []string{"-rejected", "-reversed", "-revenue"}, noFilesKeepOrder},
		{[]string{"report", "--format", ""}, true, []string{"table", "csv", "json"}, noFilesKeepOrder},
		{[]string{"report", "--color", "a"}, true, []string{"auto", "always"}, noFilesKeepOrder},
		{[]string{"report", "--campaign", ""}, true, nil, noFiles},
		{[]string{"conversions", "--status", ""}, true, []string{"pending", "approved", "rejected", "reversed"}, noFilesKeepOrder},
		{[]string{"journal", "--outcome", ""}, true, []string{"recorded", "updated", "duplicate", "quarantined", "ignored"}, noFilesKeepOrder},
		{[]string{"journal", "--reason", "un"}, true, []string{"unresolved_macro", "unknown_click", "unmapped_status"}, noFilesKeepOrder},
		{[]string{"replay", "--reason", "bad_"}, true, []string{"bad_payout", "bad_currency", "bad_time"}, noFilesKeepOrder},
		{[]string{"networks", "ever"}, true, []string{"everflow"}, noFiles},
		{[]string{"networks", "everflow", ""}, true, nil, noFiles},
		{[]string{"url", "--network", "imp"}, true, []string{"impact"}, noFilesKeepOrder},
		{[]string{"export", ""}, true, []string{"clicks", "conversions", "journal"}, noFiles},
		{[]string{"export", "clicks", "--format", ""}, true, []string{"csv", "jsonl"}, noFilesKeepOrder},
		{[]string{"import", ""}, true, nil, ":0"},           // file names
		{[]string{"migrate", "--to", ""}, true, nil, ":16"}, // directories
		{[]string{"migrate", "--schema", ""}, true, nil, noFiles},
		{[]string{"import", "--format", "j"}, true, []string{"jsonl"}, noFilesKeepOrder},
		{[]string{"report", "--config", ""}, true, nil, ":0"},
	} {
		offers, directive := complete(t, tc.args...)
		if directive != tc.directive {
			t.Errorf("%q: directive %s, want %s", tc.args, directive, tc.directive)
		}
		if tc.all && !slices.Equal(offers, tc.want) {
			t.Errorf("%q: offers %q, want %q", tc.args, offers, tc.want)
		}
		for _, want := range tc.want {
			if !slices.Contains(offers, want) {
				t.Errorf("%q: no %s in %q", tc.args, want, offers)
			}
		}
	}
}

// What is offered is accepted: the lists do not fall behind the commands.
func TestCompletionsAreAccepted(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	s.get("/postback?click_id=" + s.visit("/go/acme") + "&txid=t1&payout=12.5&currency=EUR&event=sale") // what the click cost is in euros, too
	for _, tc := range [][]string{
		{"report", "--by"}, {"report", "--from"}, {"report", "--sort"}, {"report", "--format"}, {"report", "--color"},
		{"conversions", "--status"}, {"conversions", "--to"}, {"journal", "--outcome"}, {"journal", "--reason"},
	} {
		offers, _ := complete(t, append(slices.Clone(tc), "")...)
		if len(offers) == 0 {
			t.Errorf("%q: nothing is offered", tc)
		}
		for _, offer := range offers {
			args := append(slices.Clone(tc), strings.Replace(offer, "sub.", "sub.x", 1))
			if _, _, err := runCommand(srv.URL, args...); err != nil {
				t.Errorf("%q: %v", args, err)
			}
		}
	}
}
