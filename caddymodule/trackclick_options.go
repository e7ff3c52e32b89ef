package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// This file reads the options of track_click when a configuration is loaded.

type subTemplate struct {
	name  string
	value template
}

func (t *TrackClick) readValues() error {
	var err error
	if t.campaign, err = readValue("campaign", t.Campaign); err != nil {
		return err
	}
	if name, fixed := t.campaign.fixed(); fixed && name != "" {
		campaignLabels.name(name)
	}
	if t.source, err = readValue("source", t.Source, partCampaign); err != nil {
		return err
	}
	for _, sub := range t.Subs {
		if !isSubName(sub.Name) {
			return fmt.Errorf("sub %q: a name has 1 to 64 characters of a-z, 0-9, _, . and -", sub.Name)
		}
		if slices.ContainsFunc(t.subs, func(s subTemplate) bool { return s.name == sub.Name }) {
			return fmt.Errorf("sub %q is given twice", sub.Name)
		}
		value, err := readValue("sub "+sub.Name, sub.Value, partCampaign, partSource)
		if err != nil {
			return err
		}
		t.subs = append(t.subs, subTemplate{sub.Name, value})
		if i := defaultSub(sub.Name); i > 0 {
			t.ownSub[i] = true
		}
	}
	t.keep = maps.Clone(platformParameters)
	for _, name := range t.Keep {
		if !isParameterName(name) {
			return fmt.Errorf("keep: %q is not the name of a query parameter", name)
		}
		t.keep[name] = struct{}{}
	}
	return nil
}

// readValue reads the template of an option; allowed are the short forms that
// have a value by then.
func readValue(option, text string, allowed ...partKind) (template, error) {
	v, err := parseTemplate(text)
	if err == nil {
		err = v.check(allowed...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", option, text, err)
	}
	return v, nil
}

func isSubName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == ""
}

// defaultSub returns the number of sub1 to sub9, or 0.
func defaultSub(name string) int {
	if len(name) == 4 && name[:3] == "sub" && '1' <= name[3] && name[3] <= '9' {
		return int(name[3] - '0')
	}
	return 0
}

// checkSubs refuses the placeholder of a sub-ID that no click will have.
func (t *TrackClick) checkSubs(parts template) error {
	for i := range parts {
		p := &parts[i]
		if p.kind != partSub || defaultSub(p.text) > 0 ||
			slices.ContainsFunc(t.subs, func(s subTemplate) bool { return s.name == p.text }) {
			continue
		}
		return fmt.Errorf("the placeholder %s: there is no sub %q; allowed are sub1 to sub9 and those given by sub",
			p.key(), p.text)
	}
	return nil
}

func (t *TrackClick) readDestinations() error {
	if len(t.To) == 0 && t.Inject == "" {
		return errors.New("there is neither to nor inject: say where visitors are sent")
	}
	sum := 0
	for _, to := range t.To {
		weight := to.Weight
		if weight == 0 {
			weight = 1
		}
		if weight < 1 || weight > maxWeight {
			return fmt.Errorf("to %q: the weight is %d; allowed are 1 to %d", to.URL, weight, maxWeight)
		}
		d, err := parseDestination(to.URL)
		if err == nil {
			err = errors.Join(t.checkSubs(d.head), t.checkSubs(d.tail))
		}
		if err != nil {
			return fmt.Errorf("to %q: %w", to.URL, err)
		}
		if !d.hasID {
			t.logger.Warn("a destination has no {click_id}: conversions of its clicks cannot be attributed",
				zap.String("to", to.URL))
		}
		sum += weight
		t.destinations = append(t.destinations, d)
		t.weights = append(t.weights, sum)
	}
	return nil
}

func (t *TrackClick) readPass() error {
	if t.Pass == nil {
		return nil
	}
	t.pass = &passing{all: len(*t.Pass) == 0, names: make(map[string]struct{})}
	for _, name := range *t.Pass {
		if !isParameterName(name) {
			return fmt.Errorf("pass: %q is not the name of a query parameter", name)
		}
		t.pass.names[name] = struct{}{}
	}
	for _, d := range t.destinations {
		if d.wholeQuery {
			return fmt.Errorf("to %q takes over the whole query, so pass would add parameters a second time: "+
				"use one of the two", d.text)
		}
	}
	return nil
}

// costRule is what a click costs.
type costRule struct {
	known    bool // there is a cost
	fixed    attribution.Money
	amount   template // without a fixed cost
	currency template
}

const defaultCostCurrency = "USD"

func (t *TrackClick) readCost() error {
	if t.Cost == "" {
		if t.CostCurrency != "" {
			return fmt.Errorf("cost_currency is %q, but there is no cost", t.CostCurrency)
		}
		return nil
	}
	c := costRule{known: true}
	var err error
	if c.amount, err = readValue("cost", t.Cost, partCampaign, partSource, partSub); err != nil {
		return err
	}
	if c.currency, err = readValue("cost currency", t.CostCurrency, partCampaign, partSource, partSub); err != nil {
		return err
	}
	if err := errors.Join(t.checkSubs(c.amount), t.checkSubs(c.currency)); err != nil {
		return fmt.Errorf("cost %q: %w", t.Cost, err)
	}
	amount, fixedAmount := c.amount.fixed()
	currency, fixedCurrency := c.currency.fixed()
	if fixedCurrency && currency != "" {
		if _, err := attribution.ParseCurrency(currency); err != nil {
			return fmt.Errorf("cost: %w", err)
		}
	}
	if fixedAmount && fixedCurrency {
		if c.fixed, err = parseCost(amount, currency); err != nil {
			return fmt.Errorf("cost: %w", err)
		}
		c.amount = nil
	}
	t.cost = c
	return nil
}

// parseCost reads a cost. A currency in the amount itself goes first.
func parseCost(amount, currency string) (attribution.Money, error) {
	a, named, err := attribution.ParsePayout(amount)
	if err != nil {
		return attribution.Money{}, err
	}
	if a.Sign() < 0 {
		return attribution.Money{}, errors.New("the amount " + strconv.Quote(a.String()) + " is negative")
	}
	switch {
	case named != "":
	case currency == "":
		named = defaultCostCurrency
	default:
		if named, err = attribution.ParseCurrency(currency); err != nil {
			return attribution.Money{}, err
		}
	}
	return attribution.Money{Amount: a, Currency: named}, nil
}
