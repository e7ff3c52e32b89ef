package caddymodule

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture/network"
)

func urlCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "url --network <name> --base <our postback URL> [--check <pasted URL>]",
		Short:                 "Prints the postback URL to hand to a network, or explains what is wrong with one",
		Long: `
Prints what it takes to work with a network: the postback URL to paste into it,
with the network's own macros, the parameter to put into the offer link, and the
lines for the Caddyfile. It asks no running Caddy.

The token in the URL is that of --token, else one that is made up on the spot:
put it where the Caddyfile reads it from. --mask shows *** in its place, for a
ticket or a screenshot.

With --check it explains everything that is wrong with a URL that was pasted
into the network, and how it should read; the exit status is 1 if there is
anything.`,
		Example: `  caddy capture url --network everflow --base https://example.com/postback
  caddy capture url --network cake --base https://example.com/postback \
    --check 'http://example.com/postback?click_id={s2}&payout=#price#'`,
		Args: cobra.NoArgs,
		RunE: runURL,
	}
	flags := cmd.Flags()
	flags.String("network", "", "The network, as `name` of caddy capture networks")
	flags.String("base", "", "The `URL` of our postback route, such as https://example.com/postback")
	flags.String("check", "", "A `URL` that was pasted into the network: explain what is wrong with it")
	flags.String("token", "", "The route's token; default: a new one")
	flags.Bool("mask", false, "Show *** in place of the token")
	flags.String("currency", "", "What the network pays in, where it does not say so itself")
	flags.String("link", "", "The offer link, to see where the click ID goes in it")
	for _, name := range []string{"network", "base"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag exists
		}
	}
	addFormat(cmd, formatTable, formatJSON)
	return cmd
}

func runURL(cmd *cobra.Command, _ []string) error {
	n, err := network.Find(flagString(cmd, "network"))
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("check") {
		return checkURL(cmd, n)
	}
	made, err := makeURL(cmd, n)
	if err != nil {
		return err
	}
	if flagString(cmd, "format") == formatJSON {
		return printJSON(cmd.OutOrStdout(), made)
	}
	return made.print(cmd.OutOrStdout(), n)
}

// urlAnswer is what it takes to work with a network.
type urlAnswer struct {
	Network   string `json:"network"`
	URL       string `json:"url"`
	Token     string `json:"token,omitempty"`
	Link      string `json:"link_parameter,omitempty"`
	OfferLink string `json:"offer_link,omitempty"`
	ClickIn   string `json:"click_in,omitempty"`
	Caddyfile string `json:"caddyfile"`
	Setup     string `json:"setup,omitempty"`
	// Made says that the token is new.
	Made bool `json:"token_made,omitempty"`
}

func makeURL(cmd *cobra.Command, n *network.Network) (*urlAnswer, error) {
	a := &urlAnswer{Network: n.Name, Token: flagString(cmd, "token"), ClickIn: n.ClickIn, Setup: n.Setup, Link: n.LinkParameter()}
	base := flagString(cmd, "base")
	masked, err := cmd.Flags().GetBool("mask")
	if err != nil {
		return nil, err
	}
	switch signs := !n.Tokens(); {
	case masked:
		if !signs || a.Token != "" {
			a.Token = network.MaskedToken
		}
	case a.Token == "" && !signs && !strings.Contains(base, "token="):
		a.Token, a.Made = rand.Text(), true
	}
	currency := flagString(cmd, "currency")
	if a.URL, err = n.PostbackURL(base, network.URLOptions{Token: a.Token, Currency: currency}); err != nil {
		return nil, err
	}
	link := flagString(cmd, "link")
	if link != "" && n.Link.Parameter != "" {
		if a.OfferLink, err = n.OfferLink(link); err != nil {
			return nil, err
		}
	}
	a.Caddyfile, err = n.Caddyfile(network.BlockOptions{Link: link, Path: pathOf(base), Currency: currency})
	return a, err
}

// pathOf returns the path of a URL that PostbackURL has taken.
func pathOf(base string) string {
	_, rest, _ := strings.Cut(base, "://")
	rest, _, _ = strings.Cut(rest, "?")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}

func (a *urlAnswer) print(w io.Writer, n *network.Network) error {
	var b strings.Builder
	say := func(title, text string) {
		if text = strings.TrimRight(text, "\n"); text != "" {
			fmt.Fprintf(&b, "%s\n    %s\n\n", title, strings.ReplaceAll(text, "\n", "\n    "))
		}
	}
	if n.Webhook() {
		say("Register this URL with "+n.Title+":", a.URL)
	} else {
		say("Paste this postback URL into "+n.Title+":", a.URL)
	}
	say("Where it is set up:", a.Setup)
	say("Add this to the offer link:", a.Link)
	say("The offer link then reads:", a.OfferLink)
	say("The click ID rides in:", a.ClickIn)
	say("Put this into the site's block of the Caddyfile:", a.Caddyfile)
	if a.Made {
		say("The token is new. Give it to Caddy in the environment, as the variable that the lines above name:", a.Token)
	}
	if len(n.Notes) > 0 {
		say("Good to know:", "- "+strings.Join(n.Notes, "\n- "))
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// errURLWrong ends `url --check` where there is something to mend.
var errURLWrong = errors.New("this URL does not do what it should")

// urlCheckAnswer is what is said about a URL that was pasted into a network.
type urlCheckAnswer struct {
	Network  string            `json:"network"`
	Findings []network.Finding `json:"findings"`
	// Corrected is the URL as it should read.
	Corrected string `json:"corrected,omitempty"`
}

func checkURL(cmd *cobra.Command, n *network.Network) error {
	pasted, base := flagString(cmd, "check"), flagString(cmd, "base")
	if token := flagString(cmd, "token"); token != "" {
		glue := "?"
		if strings.Contains(base, "?") {
			glue = "&"
		}
		base += glue + "token=" + url.QueryEscape(token)
	}
	a := urlCheckAnswer{Network: n.Name, Findings: network.Check(n, pasted, base)}
	if a.Findings == nil {
		a.Findings = []network.Finding{}
	}
	if better, ok := network.Correct(n, pasted, base); ok && len(a.Findings) > 0 {
		a.Corrected = better
		if masked, err := cmd.Flags().GetBool("mask"); err != nil {
			return err
		} else if u, err := url.Parse(base); masked && err == nil && u.Query().Get("token") != "" {
			a.Corrected = strings.ReplaceAll(better, url.QueryEscape(u.Query().Get("token")), network.MaskedToken)
		}
	}
	if flagString(cmd, "format") == formatJSON {
		if err := printJSON(cmd.OutOrStdout(), a); err != nil {
			return err
		}
	} else if err := a.print(cmd.OutOrStdout(), painterFor(cmd, cmd.OutOrStdout()), n); err != nil {
		return err
	}
	for _, f := range a.Findings {
		if f.Severity != network.Hint {
			return errURLWrong
		}
	}
	return nil
}

func (a *urlCheckAnswer) print(w io.Writer, p painter, n *network.Network) error {
	var b strings.Builder
	if len(a.Findings) == 0 {
		fmt.Fprintf(&b, "Nothing is wrong with this URL for %s.\n", n.Title)
	}
	for _, f := range a.Findings {
		fmt.Fprintf(&b, "%s: %s: %s\n", p.paint(wordStyle(string(f.Severity)), string(f.Severity)), printable(f.Where), printable(f.Text))
		if f.Fix != "" {
			fmt.Fprintf(&b, "    write %s\n", printable(f.Fix))
		}
	}
	if a.Corrected != "" {
		fmt.Fprintf(&b, "\nAs it should be:\n    %s\n", printable(a.Corrected))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
