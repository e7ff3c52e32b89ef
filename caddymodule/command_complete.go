package caddymodule

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// What the shell offers for flags whose values are from a list. The script for
// the shell comes from "caddy completion".

// completer offers values for what was typed so far.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// noCompletion offers nothing, file names in particular.
func noCompletion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func completeWords(words ...string) completer {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return beginning(words, typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func beginning(words []string, typed string) []string {
	var fit []string
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			fit = append(fit, w)
		}
	}
	return fit
}

// Dimensions of reports, and the last of them that has to be completed by hand.
var dimensionWords = []string{"campaign", "source", "event", "destination", "hour", "day", "month", "sub."}

// completeDimensions completes the last of several names between commas.
func completeDimensions(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before, last := "", typed
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		before, last = typed[:i+1], typed[i+1:]
	}
	used := strings.Split(before, ",")
	var fit []string
	for _, w := range beginning(dimensionWords, last) {
		if !slices.Contains(used, w) {
			fit = append(fit, before+w)
		}
	}
	// Another name or that of a sub-ID can follow.
	return fit, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

var whenWords = []string{
	"today", "yesterday", "24h", "7d", "30d", "7days", "30days", "this-week", "last-week", "this-month", "last-month",
	"this-year", "last-year",
}

// sortWords are the columns of reports; those of money go without a currency.
var sortWords = []string{
	"clicks", "bot_clicks", "conversions", "pending", "approved", "rejected", "reversed", "revenue", "cost", "rate",
	"profit", "epc",
}

func sortCompletions() []string {
	words := slices.Clone(sortWords)
	for _, w := range sortWords {
		words = append(words, "-"+w)
	}
	return words
}

func statusWords() []string {
	var words []string
	for _, s := range []attribution.Status{attribution.Pending, attribution.Approved, attribution.Rejected, attribution.Reversed} {
		words = append(words, s.String())
	}
	return words
}

func wordsOf[T ~string](list []T) []string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return words
}

// completeZones begins the name of a time zone.
func completeZones(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	areas := []string{"UTC", "Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Pacific/"}
	return beginning(areas, typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// flagCompleters are what is offered for the flags of all commands, by name.
func flagCompleters() map[string]completer {
	return map[string]completer{
		"by":     completeDimensions,
		"from":   completeWords(whenWords...),
		"to":     completeWords(whenWords...),
		"tz":     completeZones,
		"status": completeWords(statusWords()...),
		"outcome": completeWords(wordsOf([]capture.Outcome{
			capture.Recorded, capture.Updated, capture.Duplicate, capture.Quarantined, capture.Ignored})...),
		"reason":   completeWords(wordsOf(capture.QuarantineReasons)...),
		"network":  completeWords(networkNames()...),
		"sort":     completeWords(sortCompletions()...),
		"color":    completeWords(colorChoices...),
		"campaign": noCompletion, "source": noCompletion, "event": noCompletion, "route": noCompletion,
		"limit": noCompletion, "after": noCompletion, "address": noCompletion, "adapter": noCompletion,
		"base": noCompletion, "check": noCompletion, "token": noCompletion, "currency": noCompletion, "link": noCompletion,
		"click": noCompletion, "postback": noCompletion, "schema": noCompletion,
	}
}

// addCompletion lets the shell complete the flags of all commands. Arguments
// are file names only where a command says nothing else.
func addCompletion(root *cobra.Command) {
	flags := flagCompleters()
	register := func(cmd *cobra.Command, name string, complete completer) {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag exists, and is registered once
		}
	}
	for _, name := range []string{"address", "adapter", "color"} {
		register(root, name, flags[name])
	}
	for _, cmd := range root.Commands() {
		for name, complete := range flags {
			if _, own := cmd.GetFlagCompletionFunc(name); !own && cmd.Flags().Lookup(name) != nil {
				register(cmd, name, complete)
			}
		}
		if f := cmd.Flags().Lookup("format"); f != nil {
			_, list, _ := strings.Cut(f.Usage, ": ")
			register(cmd, "format", completeWords(formatWords(list)...))
		}
		switch cmd.Name() {
		case "import", "backup", "restore": // file names
		default:
			if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil {
				cmd.ValidArgsFunction = noCompletion
			}
		}
	}
}

// formatWords finds the forms of output in a flag's explanation.
func formatWords(usage string) []string {
	var words []string
	for _, known := range []string{formatTable, formatCSV, formatJSON, formatJSONLines} {
		if slices.Contains(strings.FieldsFunc(usage, func(r rune) bool { return !(r >= 'a' && r <= 'z') }), known) {
			words = append(words, known)
		}
	}
	return words
}
