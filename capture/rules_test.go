package capture

import (
	"reflect"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func someRules(change func(r *Rules, c *CampaignRules)) *Rules {
	amount, err := attribution.ParseAmount("12.50")
	if err != nil {
		panic(err)
	}
	r := &Rules{Retain: Retention{Clicks: time.Hour, Journal: time.Hour, Conversions: time.Hour}, Window: time.Hour}
	c := CampaignRules{Window: time.Hour, Payout: attribution.Money{Amount: amount, Currency: "USD"}}
	change(r, &c)
	r.Campaigns = map[string]CampaignRules{"acme": c, "shoes": {}}
	return r
}

// Whatever differs makes other rules, and only that.
func TestSameRules(t *testing.T) {
	t.Parallel()
	own := someRules(func(*Rules, *CampaignRules) {})
	if !own.same(someRules(func(_ *Rules, c *CampaignRules) { c.Payout.Amount, _ = attribution.ParseAmount("12.5") })) {
		t.Error("rules are not the same as ones that say the same")
	}
	for n, change := range []func(r *Rules, c *CampaignRules){
		func(r *Rules, _ *CampaignRules) { r.Retain.Clicks++ },
		func(r *Rules, _ *CampaignRules) { r.Retain.Journal++ },
		func(r *Rules, _ *CampaignRules) { r.Retain.Conversions++ },
		func(r *Rules, _ *CampaignRules) { r.Window++ },
		func(_ *Rules, c *CampaignRules) { c.Window++ },
		func(_ *Rules, c *CampaignRules) { c.Dedup = attribution.DedupEvent },
		func(_ *Rules, c *CampaignRules) { c.Payout.Currency = "EUR" },
		func(_ *Rules, c *CampaignRules) { c.Payout.Amount = c.Payout.Amount.Neg() },
	} {
		if other := someRules(change); own.same(other) || other.same(own) {
			t.Errorf("change %d makes no difference", n)
		}
	}
	if own.same(own.only("acme")) {
		t.Error("the rules of one campaign are those of all")
	}
	if n, m := reflect.TypeFor[Rules]().NumField(), reflect.TypeFor[CampaignRules]().NumField(); n != 3 || m != 3 {
		t.Error("rules have more to them now than is compared")
	}
}

// What waits for its click keeps the rules of its own campaign, not of all.
func TestParkedRules(t *testing.T) {
	t.Parallel()
	all := someRules(func(*Rules, *CampaignRules) {})
	for campaign, want := range map[string]int{"": 2, "acme": 1, "shoes": 1, "hats": 0} {
		kept := (&Postback{HasRef: true, Rules: all, OnlyCampaign: campaign}).park().Rules
		if len(kept.Campaigns) != want {
			t.Errorf("a route of campaign %q keeps the rules of %d campaigns", campaign, len(kept.Campaigns))
		}
		if campaign != "" && !reflect.DeepEqual(kept.Campaign(campaign), all.Campaign(campaign)) {
			t.Errorf("campaign %q has the rules %+v", campaign, kept.Campaign(campaign))
		}
	}
	if len(all.Campaigns) != 2 {
		t.Errorf("of the rules themselves %d campaigns are left", len(all.Campaigns))
	}
}
