export { applyToProductMetrics } from './apply.ts'
export { type ProductMetrics, readProductMetrics } from './product-metrics.ts'
