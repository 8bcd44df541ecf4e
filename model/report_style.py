"""The style sheet of report.html: light and dark, as the reader's system has it."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1c2330;
  --soft: #5b6472; --edge: #e2dfd8; --one: #2563c9; --two: #b4540a; --third: #4d7a3a;
  --good: #1f7a4d; --bad: #b3261e; --plus: 31, 122, 77; --minus: 179, 38, 30; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1c2128; --ink: #e8eaed;
  --soft: #a3abb8; --edge: #333a45; --one: #7aaeff; --two: #f0a35e; --third: #93c97c;
  --good: #6fcf97; --bad: #ff8a80; --plus: 111, 207, 151; --minus: 255, 138, 128; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 4px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 14px; max-width: 72ch; }
.soft, .tick, .label { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(152px, 1fr)); gap: 14px;
  margin: 26px 0 0; }
.charts { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr));
  margin-top: 14px; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px;
  padding: 16px 18px; }
.tile { padding: 14px; }
.tile b { display: block; font-size: 21px; line-height: 1.4; font-weight: 650;
  white-space: nowrap;  font-variant-numeric: tabular-nums; }
.tile span { font-size: 14px; color: var(--soft); display: block; }
.good { color: var(--good) !important; } .bad { color: var(--bad) !important; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  fill: var(--soft); }
svg text.name, svg text.value { fill: var(--ink); font-size: 13px; }
svg text.value { font-variant-numeric: tabular-nums; }
.grid { stroke: var(--edge); stroke-width: 1; }
.bar { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.one, .range.one { stroke: var(--one); } .dot.one { fill: var(--one); }
.line.two, .range.two { stroke: var(--two); } .dot.two { fill: var(--two); }
.line.third, .range.third { stroke: var(--third); } .dot.third { fill: var(--third); }
.line.guide { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 4; }
.range { stroke-width: 2.5; stroke-linecap: round; opacity: 0.6; }
.key { font-size: 13px; color: var(--soft); margin: 6px 0 0; }
.key i { display: inline-block; width: 18px; height: 3px; border-radius: 2px; margin: 0 6px 3px 0;
  vertical-align: middle; background: var(--one); }
.key i.two { background: var(--two); } .key i.third { background: var(--third); }
.key span { margin-right: 16px; white-space: nowrap; }
table { border-collapse: collapse; font-size: 14px; }
th { text-align: left; font-weight: 600; }
td, th { padding: 5px 18px 5px 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.confusion { width: 100%; margin-top: 26px; table-layout: fixed; }
.confusion td, .confusion th { border: 0; padding: 6px; text-align: center; font-weight: 500;
  vertical-align: middle; }
.confusion th { color: var(--soft); font-size: 13px; }
.confusion td { border-radius: 8px; font-size: 21px; padding: 20px 6px; font-weight: 600;
  background: rgba(var(--plus), 0.14); border: 4px solid var(--card); }
.confusion td.wrong { background: rgba(var(--minus), 0.14); }
.confusion td span { display: block; font-size: 12px; font-weight: 400; color: var(--soft); }
details { background: var(--card); border: 1px solid var(--edge); border-radius: 10px;
  margin-top: 10px; }
summary { cursor: pointer; padding: 11px 18px; }
summary b { font-weight: 600; }
.review { white-space: pre-line; padding: 0 18px 16px; margin: 0; max-width: 80ch;
  font-size: 15px; overflow-wrap: anywhere; }
mark { color: inherit; border-radius: 3px; padding: 1px 2px; background: none; }
mark.p1 { background: rgba(var(--plus), 0.14); } mark.n1 { background: rgba(var(--minus), 0.14); }
mark.p2 { background: rgba(var(--plus), 0.30); } mark.n2 { background: rgba(var(--minus), 0.30); }
mark.p3 { background: rgba(var(--plus), 0.48); } mark.n3 { background: rgba(var(--minus), 0.48); }
.wide { overflow-x: auto; }
@media print { details { break-inside: avoid; } }
"""
