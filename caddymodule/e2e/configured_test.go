package e2e

import (
	"strings"
	"testing"
)

// A suspect is a Caddyfile that works and is not what its owner wants, and what is said about it.
type suspect struct {
	options, site, rule string
	words               []string
}

var suspects = []suspect{
	{site: "postback /pb", rule: "open_route", words: []string{"/pb", "token"}},
	{site: "postback /pb {\n network stripe\n}", rule: "open_route", words: []string{"verify hmac", "stripe"}},
	{site: "track_click /go https://offer.example/", rule: "no_click_id", words: []string{"{click_id}"}},
	{site: "postback /pb {\n token a-long-secret-one\n allow_http\n}", rule: "token_in_clear", words: []string{"HTTPS"}},
	{options: "servers {\n trusted_proxies static 0.0.0.0/0\n}", site: "postback /pb {\n allow 192.0.2.1\n allow_http\n}",
		rule: "trusts_every_proxy", words: []string{"X-Forwarded-For"}},
	{site: "track_click /go https://offer.example/?other={click_id}\npostback /pb {\n network everflow\n token a-long-secret-one\n}",
		rule: "link_parameter", words: []string{"sub1", "other"}},
	{options: "capture {\n window 100d\n}", rule: "window_outlives_clicks", words: []string{"100d", "90d"}},
}

// `caddy validate` warns of what works and is most likely a mistake, and says that the configuration is valid.
func TestLint(t *testing.T) {
	for _, c := range suspects {
		t.Run(c.rule+" "+strings.Fields(c.site + " options")[0], func(t *testing.T) {
			t.Parallel()
			// The name of a host that others can reach.
			s := newServer(t, "{\n admin $ADMIN\n "+c.options+"\n}\nhttp://track.example:$PORT {\n"+c.site+"\nrespond \"the site\"\n}\n")
			r := s.caddy("validate", "--config", s.caddyfile())
			if r.code != 0 {
				t.Errorf("exit status %d", r.code)
			}
			found := ""
			for line := range strings.Lines(r.stderr) {
				if containsAll(line, `"rule":"`+c.rule+`"`) {
					found = line
				}
			}
			if !containsAll(strings.ReplaceAll(found, `\"`, `"`), append([]string{"warn"}, c.words...)...) {
				t.Errorf("no warning %s with the words %q:\n%s", c.rule, c.words, r.stderr)
			}
			if strings.Contains(r.stdout+r.stderr, "a-long-secret-one") {
				t.Errorf("the secret shows: %s", r.stderr)
			}
		})
	}
}

// What is as it should be is passed over in silence.
func TestLintSilence(t *testing.T) {
	s := newServer(t, "{\n admin $ADMIN\n}\nhttps://track.example:$PORT {\n"+
		"track_click /go/* https://offer.example/?sub1={click_id}\npostback /pb {\n network everflow\n token a-long-secret-one\n}\n}\n")
	r := s.caddy("validate", "--config", s.caddyfile())
	if r.code != 0 || strings.Contains(r.stderr, `"rule"`) {
		t.Errorf("exit status %d, %s", r.code, r.stderr)
	}
}

// A secret that is missing is an error at once, by its name; one that is there never shows.
func TestMissingSecrets(t *testing.T) {
	for _, directive := range []string{
		"token {env.UNSET_SECRET}",
		"token {env.GIVEN_SECRET} {env.UNSET_SECRET}",
		"verify hmac {\n header X-Sig\n secret {env.GIVEN_SECRET} {env.UNSET_SECRET}\n}",
		"network stripe\n verify hmac {\n secret {env.UNSET_SECRET}\n}",
		"verify standard_webhooks {env.UNSET_SECRET}",
		"verify http_signature {\n key one hmac-sha256 {env.GIVEN_SECRET}\n key two hmac-sha256 {env.UNSET_SECRET}\n}",
		"verify digistore24 {env.GIVEN_SECRET} {env.UNSET_SECRET}",
		"verify jvzoo {env.UNSET_SECRET}",
		"verify clickbank {env.UNSET_SECRET}",
		"verify shared_secret password {env.UNSET_SECRET}",
	} {
		t.Run(strings.ReplaceAll(directive, "\n", ""), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "{\n admin $ADMIN\n}\nhttp://127.0.0.1:$PORT {\npostback /pb {\n"+directive+"\n}\n}\n")
			const given = "the-value-of-the-secret-that-is-set"
			s.env = append(s.env, "GIVEN_SECRET="+given)
			for _, command := range []string{"validate", "run"} {
				r := s.caddy(command, "--config", s.caddyfile())
				if r.code == 0 || !containsAll(r.stderr, "UNSET_SECRET", "/pb") {
					t.Errorf("%s: exit status %d, %s", command, r.code, r.stderr)
				}
				if strings.Contains(r.stdout+r.stderr, given) {
					t.Errorf("%s shows the other secret: %s", command, r.stderr)
				}
			}
			s.env = append(s.env, "UNSET_SECRET=")
			if r := s.caddy("validate", "--config", s.caddyfile()); r.code == 0 || !containsAll(r.stderr, "UNSET_SECRET") {
				t.Errorf("an empty one: exit status %d, %s", r.code, r.stderr)
			}
		})
	}
}
