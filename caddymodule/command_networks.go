package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/network"
)

func networksCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "networks [<name>] [--format table|csv|json]",
		Short:                 "Lists the senders that have a preset, or shows one",
		Long: `
Lists the senders of postbacks that have a preset for the option network of the
postback directive, or shows one of them: what it calls things, where the click
ID goes, what it signs, and what it wants to hear.

The grade says how sure that is: A is the vendor's own documentation, B two
independent sources. It asks no running Caddy.`,
		Example: `  caddy capture networks
  caddy capture networks stripe`,
		Args: cobra.MaximumNArgs(1),
		RunE: runNetworks,
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return beginning(networkNames(), typed), cobra.ShellCompDirectiveNoFileComp
		},
	}
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func networkNames() []string {
	var names []string
	for _, n := range network.All() {
		names = append(names, n.Name)
	}
	return names
}

func runNetworks(cmd *cobra.Command, args []string) error {
	format := flagString(cmd, "format")
	if len(args) == 0 {
		if format == formatJSON {
			return printJSON(cmd.OutOrStdout(), network.All())
		}
		return networksTable().print(cmd, format, "none")
	}
	n, err := network.Find(args[0])
	if err != nil {
		return err
	}
	switch format {
	case formatJSON:
		return printJSON(cmd.OutOrStdout(), n)
	case formatCSV:
		return writeCSV(cmd.OutOrStdout(), append([][]string{{"field", "value"}}, describeNetwork(n)...))
	}
	return printPairs(cmd.OutOrStdout(), describeNetwork(n))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// printPairs writes names and values in two columns.
func printPairs(w io.Writer, rows [][]string) error {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	for _, row := range rows {
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, row[0], printable(row[1])); err != nil {
			return err
		}
	}
	return nil
}

func networksTable() *table {
	t := &table{columns: []column{
		{title: "name", id: true}, {title: "title"}, {title: "kind", rank: 4}, {title: "sends", rank: 3}, {title: "link parameter"},
		{title: "verify"}, {title: "grade", rank: 1}, {title: "checked", id: true, rank: 2, style: dimStyle},
	}}
	for _, n := range network.All() {
		sends := "its own messages"
		if !n.Webhook() {
			sends = "your postback URL"
		}
		t.rows = append(t.rows, []string{
			n.Name, n.Title, n.Kind, sends, n.Link.Parameter, schemeName(n), n.Grade, n.Checked,
		})
	}
	return t
}

func schemeName(n *network.Network) string {
	return strings.TrimSpace(n.Verify.Scheme + " " + n.Verify.Preset)
}

// describeNetwork lists what is known of a sender, in the order in which a
// site owner needs it.
func describeNetwork(n *network.Network) [][]string {
	var rows [][]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("name", n.Name)
	add("title", n.Title)
	add("also known as", strings.Join(n.Aliases, ", "))
	add("kind", n.Kind)
	add("method", strings.TrimSpace(n.Method+" "+n.Body))
	add("offer link", linkText(n))
	add("click ID goes in", n.ClickIn)
	for _, f := range capture.Fields {
		add("macro "+string(f), n.Macros[f])
		add("field "+string(f), strings.Join(n.Fields[f], " "))
	}
	for _, name := range slices.Sorted(maps.Keys(n.Extra)) {
		add("extra "+name, n.Extra[name])
	}
	for _, status := range slices.Sorted(maps.Keys(n.Statuses)) {
		add("status "+status, strings.Join(n.Statuses[status], " "))
	}
	add("event", n.Event)
	add("events", strings.Join(n.Events, ", "))
	add("currency", n.Currency)
	if n.Minor {
		add("amounts", "in the currency's minor unit, such as cents")
	}
	for i := range n.Kinds {
		add("message "+n.Kinds[i].Name, kindText(&n.Kinds[i]))
	}
	add("verify", verifyText(n))
	add("answer", answerText(n.Answer))
	if n.URLLimit > 0 {
		add("URL limit", strconv.Itoa(n.URLLimit)+" characters")
	}
	if n.MaxBody > 0 {
		add("largest body", humanize.IBytes(uint64(n.MaxBody))) //nolint:gosec // positive
	}
	add("set-up", n.Setup)
	for _, note := range n.Notes {
		add("note", note)
	}
	for _, u := range n.Unsure {
		add("unsure", u)
	}
	add("grade", n.Grade)
	add("source", n.Source)
	add("checked", n.Checked)
	return rows
}

func linkText(n *network.Network) string {
	if n.Link.Parameter == "" {
		return ""
	}
	s := n.Link.Parameter + "={click_id}"
	if len(n.Link.Also) > 0 {
		s += ", or in " + strings.Join(n.Link.Also, ", ")
	}
	if len(n.Link.Before) > 0 {
		s += ", before " + strings.Join(n.Link.Before, ", ")
	}
	if n.Link.Limit > 0 {
		s += fmt.Sprintf(" (up to %d characters)", n.Link.Limit)
	}
	return s
}

func kindText(k *network.Kind) string {
	switch {
	case k.Ignore != "":
		return "ignored: " + k.Ignore
	case k.Refund:
		return "takes a refund off its sale"
	}
	return strings.Join(slices.DeleteFunc([]string{k.Event, k.Status}, func(s string) bool { return s == "" }), " ")
}

func verifyText(n *network.Network) string {
	s := schemeName(n)
	if s != "" && n.Verify.Where != "" {
		s += "; the secret: " + n.Verify.Where
	}
	return s
}

func answerText(a network.Answer) string {
	s := strings.TrimSpace(strconv.Itoa(a.Status) + " " + a.Body)
	if a.Status == 0 {
		s = a.Body
	}
	if a.Only200 {
		s = strings.TrimPrefix(s+", nothing but 200 will do", ", ")
	}
	return s
}
