"""The look of a data set's page: one style sheet for light, dark, narrow and paper (colours: Okabe and Ito, 2008)."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fdfcf9; --ink: #1d1d1b; --soft: #63625c; --line: #dcd9d0; --wash: #f3f1ea;
  --train: #0072b2; --val: #e69f00; --test: #009e73; --bar: #0072b2; --alarm: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e9e7e1; --soft: #a3a29b; --line: #34373b;
  --wash: #1f2226; --train: #56b4e9; --val: #e69f00; --test: #00b584; --bar: #56b4e9; --alarm: #ff8a3d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Liberation Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main, .banner { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem; }
h1, h2, .figure b, .lead { font-family: Charter, "Bitstream Charter", Georgia, "Liberation Serif", serif; }
h1 { font-size: clamp(2.2rem, 7vw, 3.6rem); line-height: 1.08; margin: .1em 0 .2em; letter-spacing: -.015em; }
h2 { font-size: 1.55rem; margin: 0 0 .5rem; line-height: 1.2; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
h1, h2, h3, td, th, dd, p, li, figcaption, summary, .banner, .figure { overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding: 2rem 0 1.2rem; }
header { padding: 3rem 0 1.5rem; }
p { margin: .4rem 0 .9rem; max-width: 44rem; }
.kicker, .note, figcaption, .why { color: var(--soft); font-size: .875rem; }
.kicker { text-transform: uppercase; letter-spacing: .09em; font-size: .78rem; margin: 0; }
.lead { font-size: 1.22rem; line-height: 1.5; }
.banner { background: #e69f00; color: #1d1d1b; max-width: none; text-align: center; padding: .6rem 1.25rem;
  font-weight: 600; }
.tag { background: #e69f00; color: #1d1d1b; font: 600 .66rem/1 system-ui, sans-serif; padding: .3em .55em;
  border-radius: 2px; vertical-align: .35em; margin-left: .6em; white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.7rem, 1fr)); gap: 1rem;
  margin: 1.6rem 0; }
.figure b { display: block; font-size: 1.75rem; font-weight: 500; line-height: 1.15;
  font-variant-numeric: lining-nums; }
.figure span { color: var(--soft); font-size: .84rem; }
.verdict { border-left: 4px solid var(--test); background: var(--wash); padding: .7rem 1rem; margin: 1rem 0 0; }
.verdict.doubt { border-color: var(--val); } .verdict.unfit { border-color: var(--alarm); }
.verdict ul { margin: .2rem 0 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: 10rem 1fr; gap: .35rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums lining-nums; }
th { text-align: left; font-weight: 600; } thead th { color: var(--soft); font-weight: 400; font-size: .84rem; }
th, td { padding: .42rem .5rem .3rem; vertical-align: top; } th:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
.even { table-layout: fixed; } .even th:first-child { width: 34%; }
.n { text-align: right; } td.n, th.n { overflow-wrap: normal; }
tbody tr, tfoot tr { border-top: 1px solid var(--line); } tr.strip { border: 0; }
tr.strip td { padding: 0 0 .55rem; } tfoot { font-weight: 600; }
.sign { color: var(--soft); font-weight: 400; }
.stack, .share { display: flex; height: .5rem; gap: 1px; }
.share { background: var(--line); height: .4rem; margin-top: .3rem; min-width: 2.5rem; }
.stack i, .share i, .key i { display: block; background: var(--bar); }
i.train { background: var(--train); } i.val { background: var(--val); } i.test { background: var(--test); }
i.lost { background: repeating-linear-gradient(45deg, var(--soft) 0 2px, transparent 2px 4px); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .84rem; color: var(--soft);
  margin: .2rem 0 .6rem; }
.key span { display: flex; align-items: center; gap: .45em; } .key i { width: .9em; height: .7em; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.4rem, 1fr)); gap: .8rem; }
.sheet figure { margin: 0; min-width: 0; } .sheet img { display: block; width: 100%; aspect-ratio: 4/3;
  object-fit: contain; background: #101113; border-radius: 2px; }
figcaption { font-size: .74rem; line-height: 1.3; margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; margin: .6rem 0 .2rem; overflow: visible; }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); } 
svg line.median { stroke: var(--alarm); stroke-width: 2; }
svg text { fill: var(--soft); font-size: 12px; } svg text.median { fill: var(--alarm); }
details { border-top: 1px solid var(--line); } details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; padding: .55rem 0; display: flex; gap: .2rem .9rem; align-items: baseline; }
summary::before { content: "+"; color: var(--soft); width: .8em; } details[open] > summary::before { content: "−"; }
summary::-webkit-details-marker { display: none; }
summary b { min-width: 8rem; } 
summary .many { min-width: 3.2rem; text-align: right; font-variant-numeric: tabular-nums; }
summary .why { flex: 1; } details ol { margin: 0 0 1rem; padding-left: 2.6rem; font-size: .86rem; }
li { padding: .1rem 0; } footer { border-top: 1px solid var(--line); padding: 1rem 0 3rem; }
@media (max-width: 36rem) { header { padding-top: 1.8rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .6rem; } th, td { padding-left: .3rem; padding-right: .3rem; font-size: .86rem; }
  thead th { font-size: .76rem; } svg text { font-size: 21px; } svg .minor { display: none; }
  .sheet { grid-template-columns: repeat(3, 1fr); gap: .5rem; } summary { flex-wrap: wrap; }
  summary .why { flex-basis: 100%;
  padding-left: 1.7em; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #fff;
  --train: #0072b2; --val: #e69f00; --test: #009e73; --bar: #0072b2; --alarm: #d55e00; }
  body { font-size: 10pt; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, svg, dl, .figures { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .sheet { grid-template-columns: repeat(6, 1fr); gap: .5rem; }
  header { padding-top: 0; } section { padding: 1rem 0; } }
"""
